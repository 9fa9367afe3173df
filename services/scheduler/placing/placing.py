"""On which nodes a model should run. No bus, no clock: all it weighs is handed in."""

from collections.abc import Iterable
from dataclasses import dataclass

from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.memory import Footprint, least_grant, together
from proto.plan import Quarantine
from proto.store import StoredModel
from services.scheduler.naming import unknown
from services.scheduler.placing.shortage import no_memory
from services.scheduler.view import View


@dataclass(frozen=True)
class Wish:
    """How a model is to be loaded, once the configuration has filled in what was left open."""

    model: ModelId
    context: int | None = None
    batch: int | None = None
    slots: int | None = None
    draft: ModelId | None = None
    is_pinned: bool = False
    idle_ttl_s: float | None = None
    fetches: bool = True
    makes_room: bool = True
    lifts_quarantine: bool = False


def choose(
    view: View, wish: Wish, replicas: int, without: frozenset[NodeId] = frozenset()
) -> tuple[NodeId, ...]:
    """Nodes for so many replicas in all: those that serve it, then those where it fits best.

    A node with the files and room comes before one that has to make room, and
    both before one that has to fetch; ties go to the most free memory that no
    earlier job waits for, then to the first id. Raises MeshError when it fits on none.
    """
    serving = [node for node in _serving(view, wish.model) if node not in without]
    rest = [node for node in _usable(view) if node not in {*serving, *without}]
    rated = [_rate(view, node, wish) for node in rest]
    others = sorted(filter(None, rated))
    chosen = [*serving, *(one.node for one in others)][:replicas]
    if not chosen:
        raise _nowhere(view, wish)
    if len(chosen) < replicas:
        raise MeshError(
            Code.NO_MEMORY,
            f"{wish.model} fits on {', '.join(chosen)} and nowhere else, not on {replicas} nodes: "
            "ask for fewer replicas, or make room on another node.",
        )
    return tuple(chosen)


def check_present(view: View, nodes: Iterable[NodeId]) -> None:
    """Raises MeshError for a node that is not heard."""
    for node in nodes:
        if node not in view.nodes:
            there = ", ".join(sorted(view.nodes)) or "none"
            raise MeshError(
                Code.NOT_FOUND, f"No node {node!r} is heard. There are: {there}.", param="node"
            )


def check_named(view: View, nodes: Iterable[NodeId]) -> None:
    """Raises MeshError for a node that is not heard, or takes nothing new."""
    check_present(view, nodes)
    for node in nodes:
        if view.plan(node).is_drained:
            raise MeshError(
                Code.CONFLICT,
                f"{node} is drained: `odyssai undrain {node}` lets it take models again.",
                param="node",
            )


def check_versions(view: View, model: ModelId, nodes: Iterable[NodeId]) -> None:
    """All replicas must run the same files. Raises MeshError that names two that differ."""
    stored = dict(view.stored(model))
    serving = {
        node: placement.fingerprint
        for node, placement in view.placements(model)
        if placement.fingerprint
    }
    prints = serving | {node: stored[node].fingerprint for node in nodes if node in stored}
    first = next(iter(sorted(prints)), None)
    for node in sorted(prints):
        if first is not None and prints[node] != prints[first]:
            raise MeshError(
                Code.CONFLICT,
                f"{first} and {node} hold different files of {model}: "
                f"{_version(stored.get(first), prints[first])} and "
                f"{_version(stored.get(node), prints[node])}. Answers would depend on the node; "
                f"`odyssai sync {model} --from {first}` makes them the same.",
                param="model",
            )


def quarantine_of(view: View, node: NodeId, model: ModelId) -> Quarantine | None:
    return next((q for q in view.plan(node).quarantined if q.model == model), None)


def quarantined(found: Quarantine, node: NodeId) -> MeshError:
    return MeshError(
        Code.QUARANTINED,
        f"{found.model} is quarantined on {node}, where it ended its engine "
        f"{found.crashes} times: {found.reason}. "
        f"`odyssai load {found.model} --lift-quarantine` tries it again.",
        param="model",
    )


def _serving(view: View, model: ModelId) -> list[NodeId]:
    return [
        node
        for node, placement in view.placements(model)
        if node in view.nodes and not placement.is_draining and not view.plan(node).is_drained
    ]


def _usable(view: View) -> list[NodeId]:
    return [node for node in sorted(view.nodes) if not view.plan(node).is_drained]


@dataclass(frozen=True, order=True)
class _Rated:
    class_: int
    less_free: int
    node: NodeId


FITS, HAS_TO_MAKE_ROOM, HAS_TO_FETCH = range(3)


def _rate(view: View, node: NodeId, wish: Wish) -> _Rated | None:
    """None where it can never run."""
    if quarantine_of(view, node, wish.model) and not wish.lifts_quarantine:
        return None
    own = dict(view.stored(wish.model)).get(node)
    known = own or next((m for _, m in view.stored(wish.model)), None)
    free = view.free_bytes(node)
    unclaimed = free - view.promised.get(node, 0)
    if known is None:
        return _Rated(HAS_TO_FETCH, -unclaimed, node) if wish.fetches else None
    need = _least_bytes(needed(view, node, wish, known), wish)
    if need > (free + _removable(view, node) if wish.makes_room else free):
        return None
    if own is None or (wish.draft and not _has(view, node, wish.draft)):
        return _Rated(HAS_TO_FETCH, -unclaimed, node) if wish.fetches else None
    return _Rated(FITS if need <= unclaimed else HAS_TO_MAKE_ROOM, -unclaimed, node)


def needed(view: View, node: NodeId, wish: Wish, known: StoredModel) -> Footprint:
    """Of the model and of its draft, as far as anybody knows that one."""
    drafts = dict(view.stored(wish.draft)) if wish.draft else {}
    draft = drafts.get(node) or next(iter(drafts.values()), None)
    return together(known.footprint, draft.footprint if draft else None)


def _has(view: View, node: NodeId, model: ModelId) -> bool:
    return node in dict(view.stored(model))


def _least_bytes(footprint: Footprint, wish: Wish) -> int:
    return least_grant(footprint, wish.context, wish.batch).total_bytes


def _removable(view: View, node: NodeId) -> int:
    """Bytes of all engines of a node that may make room at some time."""
    return sum(view.holding(p).counted_bytes for p in view.plan(node).placements if not p.is_pinned)


def _nowhere(view: View, wish: Wish) -> MeshError:
    if not view.nodes:
        return MeshError(
            Code.NO_ENGINE,
            "No node is heard: start an agent with `odyssai up` or `odyssai join`.",
        )
    usable = _usable(view)
    if not usable:
        return MeshError(
            # No code of something that may be over in a moment: that would be waited for.
            Code.NOT_LOADED,
            "All nodes are drained: `odyssai undrain NODE` lets one take models.",
        )
    for node in usable:
        held = quarantine_of(view, node, wish.model)
        if held and not wish.lifts_quarantine:
            return quarantined(held, node)
    known = next((m for _, m in view.stored(wish.model)), None)
    if known is None:
        return unknown(view, wish.model)
    best = max(usable, key=lambda node: (view.free_bytes(node), node))
    footprint = needed(view, best, wish, known)
    return no_memory(view, best, wish.model, footprint, wish.context, wish.batch)


def _version(stored: StoredModel | None, fingerprint: str) -> str:
    revision = f"revision {stored.revision[:12]}, " if stored and stored.revision else ""
    return f"{revision}fingerprint {fingerprint[:12]}"
