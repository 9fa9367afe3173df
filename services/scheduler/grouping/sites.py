"""Nodes as places for a part of a model, and which of them may serve one together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proto.group import Backend
from proto.ids import ModelId, NodeId
from proto.store import StoredModel
from services.scheduler.grouping.speed import BYTES_PER_S, bytes_per_s
from services.scheduler.placing.placing import quarantine_of
from services.scheduler.view import View


@dataclass(frozen=True)
class Site:
    """A node that takes models."""

    node: NodeId
    free_bytes: int
    """That no earlier job waits for."""
    removable_bytes: int
    """Of engines that may make room at some time."""
    wirable_bytes: int
    chip: str
    stored: StoredModel | None
    """The model's files there."""

    @property
    def bytes_per_s(self) -> float:
        return bytes_per_s(self.chip)

    @property
    def is_known(self) -> bool:
        return self.chip in BYTES_PER_S


@dataclass(frozen=True)
class Pool:
    """Sites that may meet, by rank."""

    sites: tuple[Site, ...]
    backend: Backend = "ring"
    cluster: str = ""

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(site.node for site in self.sites)

    def of(self, sites: Sequence[Site]) -> "Pool":
        """Some of them."""
        return Pool(tuple(sites), self.backend, self.cluster)


def sites(view: View, model: ModelId, *, lifts_quarantine: bool = False) -> list[Site]:
    """All that could take a part of it, in the order of their ids."""
    stored = dict(view.stored(model))
    return [
        Site(
            node=node,
            free_bytes=view.free_bytes(node) - view.promised.get(node, 0),
            removable_bytes=removable_bytes(view, node, model),
            wirable_bytes=view.nodes[node].wirable_bytes,
            chip=view.nodes[node].chip,
            stored=stored.get(node),
        )
        for node in sorted(view.nodes)
        if not view.plan(node).is_drained
        if lifts_quarantine or quarantine_of(view, node, model) is None
    ]


def removable_bytes(view: View, node: NodeId, model: ModelId) -> int:
    return sum(
        view.holding(p).counted_bytes
        for p in view.plan(node).placements
        if not p.is_pinned and p.model != model
    )


def pools(view: View, there: Sequence[Site], cluster: str = "") -> Iterator[Pool]:
    """Declared clusters, or the one that is named; then all nodes, which meet over the bus."""
    by_node = {site.node: site for site in there}
    declared = {name: told for name, told in (view.config.clusters or {}).items() if told}
    for name, told in declared.items():
        if cluster in ("", name):
            members = tuple(by_node[n] for n in told.nodes if n in by_node)
            yield Pool(members, told.backend, name)
    if not cluster:
        yield Pool(tuple(there))


def pool_of(view: View, named: Sequence[Site], cluster: str = "") -> Pool:
    """These nodes in this order, by the links of a cluster that has all of them, if one does."""
    nodes = {site.node for site in named}
    for name, told in (view.config.clusters or {}).items():
        if told is not None and cluster in ("", name) and nodes <= set(told.nodes):
            return Pool(tuple(named), told.backend, name)
    return Pool(tuple(named))
