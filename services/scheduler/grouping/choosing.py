"""Every way in which a model could be served, best first, with what stands against each."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from proto.choice import Choice, Hop, Share, Way, WayWish
from proto.cluster import ClusterConfig
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.layout import Layout
from proto.memory import Footprint, Grant
from proto.store import StoredModel
from services.scheduler.grouping.links import Meeting, meeting, nearness
from services.scheduler.grouping.sharing import (
    common_grants,
    layers_by_memory,
    least_grants,
    pipeline_parts,
    tensor_parts,
)
from services.scheduler.grouping.sites import Pool, Site, pool_of, pools, sites
from services.scheduler.grouping.speed import (
    message_s,
    pipeline_hops,
    pipeline_s,
    solo_s,
    tensor_hops,
    tensor_s,
)
from services.scheduler.placing.placing import Wish, needed
from services.scheduler.placing.shortage import told_apart
from services.scheduler.view import View

MOST_RANKS = 16


@dataclass(frozen=True)
class Frame:
    """Within which ways are looked for."""

    way: WayWish = "auto"
    ranks: int | None = None
    nodes: tuple[NodeId, ...] = ()
    """These together, by rank."""
    cluster: str = ""

    @property
    def is_group(self) -> bool:
        """Nothing but several nodes together will do."""
        return self.way in ("tensor", "pipeline") or (self.ranks or 1) > 1 or bool(self.cluster)

    def allows(self, way: Way, ranks: int) -> bool:
        if way != "solo" and self.way == "solo":
            return False
        is_way = self.way in ("auto", way)
        return is_way and (self.ranks is None or self.ranks == ranks)


def choices(view: View, stored: StoredModel, wish: Wish, frame: Frame) -> list[Choice]:
    """``stored``: the model as some node has it. The first can be gone, if any can.

    One node comes before several, fewer before more, what fits now before what has to make room;
    then the faster one. Raises MeshError for a frame that nothing fits into.
    """
    there = sites(view, wish.model, lifts_quarantine=wish.lifts_quarantine)
    _check(view, frame, there)
    weigher = _Weigher(view, stored, wish)
    found = [
        *(weigher.solo(site) for site in there if _is_solo(frame, site)),
        *(
            weigher.split(way, pool)
            for pool in _groups(view, frame, there)
            for way in ("tensor", "pipeline")
            if frame.allows(way, len(pool.sites))
        ),
    ]
    return sorted(found, key=_rank)


def best(found: Iterable[Choice]) -> Choice | None:
    return next((choice for choice in found if not choice.why_not), None)


def _rank(choice: Choice) -> tuple[object, ...]:
    lacking = sum(not share.is_stored for share in choice.shares)
    return (
        bool(choice.why_not),
        len(choice.shares),
        choice.needs_room,
        -_grade(choice.speed),
        lacking,
        -min(share.free_bytes for share in choice.shares),
        [share.node for share in choice.shares],
    )


def _grade(speed: float) -> int:
    """What differs by less than a tenth is alike: links are measured, and figures jitter."""
    return round(math.log(max(speed, 1e-6), 1.1))


def _is_solo(frame: Frame, site: Site) -> bool:
    is_named = not frame.nodes or (len(frame.nodes) == 1 and site.node in frame.nodes)
    return is_named and not frame.cluster and frame.allows("solo", 1)


def _check(view: View, frame: Frame, there: Sequence[Site]) -> None:
    """Raises MeshError."""
    clusters = view.config.clusters or {}
    if frame.cluster and clusters.get(frame.cluster) is None:
        known = ", ".join(sorted(clusters)) or "none"
        raise MeshError(
            Code.NOT_FOUND,
            f"No cluster {frame.cluster!r} is declared. There are: {known}.",
            param="cluster",
        )
    if frame.nodes and frame.ranks is not None and frame.ranks != len(frame.nodes):
        raise MeshError(
            Code.INVALID_REQUEST,
            f"{frame.ranks} ranks cannot be on {len(frame.nodes)} nodes: name as many nodes as "
            "ranks, or no ranks.",
            param="ranks",
        )
    usable = {site.node for site in there}
    away = [node for node in frame.nodes if node not in usable]
    if away:
        raise MeshError(
            Code.CONFLICT,
            f"{', '.join(away)} takes no part: it is not heard, drained or in quarantine with this "
            "model; `odyssai nodes` tells which.",
            param="node",
        )


def _groups(view: View, frame: Frame, there: Sequence[Site]) -> Iterator[Pool]:
    """Each set of nodes once."""
    if len(frame.nodes) > 1:
        by_node = {site.node: site for site in there}
        yield pool_of(view, [by_node[node] for node in frame.nodes], frame.cluster)
        return
    seen: set[frozenset[NodeId]] = set()
    for pool in pools(view, there, frame.cluster):
        for part in _parts(view, pool):
            nodes = frozenset(site.node for site in part.sites)
            if nodes not in seen:
                seen.add(nodes)
                yield part


def _parts(view: View, pool: Pool) -> Iterator[Pool]:
    """Those with the most memory, two and more of them; with the files, if those suffice; and those
    that are near to one another.
    """
    orders = [sorted(pool.sites, key=order) for order in (_files_first, _roomiest_first)]
    if not pool.cluster:
        orders += _by_nearness(view, pool)
    for ordered in orders:
        for count in range(2, min(len(ordered), MOST_RANKS) + 1):
            chosen = list(islice(ordered, count))
            yield pool.of([s for s in pool.sites if s in chosen] if pool.cluster else chosen)


def _by_nearness(view: View, pool: Pool) -> Iterator[list[Site]]:
    """Around each of them."""
    near = nearness(view, pool.nodes)
    roomy = sorted(pool.sites, key=_roomiest_first)
    for centre in roomy if near else ():
        steps = {s.node: near[frozenset((s.node, centre.node))] for s in roomy if s is not centre}
        others = [site for site in roomy if site is not centre]
        yield [centre, *sorted(others, key=lambda site: steps[site.node])]


def _roomiest_first(site: Site) -> tuple[int, NodeId]:
    return -site.free_bytes, site.node


def _files_first(site: Site) -> tuple[bool, int, NodeId]:
    return site.stored is None, -site.free_bytes, site.node


class _Weigher:
    """Of one model."""

    def __init__(self, view: View, stored: StoredModel, wish: Wish) -> None:
        self._view = view
        self._stored = stored
        self._wish = wish

    def solo(self, site: Site) -> Choice:
        layout = self._stored.layout
        footprint = needed(self._view, site.node, self._wish, self._stored)
        read = layout.read_bytes if layout else footprint.weights_bytes
        return self._choice("solo", Pool((site,)), [footprint], solo_s(read, site.bytes_per_s))

    def split(self, way: Way, pool: Pool) -> Choice:
        layout = self._stored.layout
        met = meeting(self._view, pool.nodes, pool.backend, self._cluster(pool))
        why_not = _cannot(self._stored, way, len(pool.sites)) or met.why_not
        if layout is None or why_not:
            return self._refused(way, pool, why_not)
        footprint, rates = self._stored.footprint, [site.bytes_per_s for site in pool.sites]
        if way == "tensor":
            parts = tensor_parts(footprint, layout, len(pool.sites))
            waited_s = self._waited_s(way, pool, met, layout)
            token_s = tensor_s(_reads(layout, footprint, parts), rates, waited_s)
            return self._choice(way, pool, parts, token_s, met=met, waited_s=waited_s)
        layers = self._layers(layout, pool)
        parts = pipeline_parts(footprint, layout, layers)
        waited_s = self._waited_s(way, pool, met, layout)
        token_s = pipeline_s(_reads(layout, footprint, parts), rates, waited_s)
        return self._choice(way, pool, parts, token_s, layers, met, waited_s)

    def _cluster(self, pool: Pool) -> ClusterConfig | None:
        return (self._view.config.clusters or {}).get(pool.cluster)

    @staticmethod
    def _waited_s(way: Way, pool: Pool, met: Meeting, layout: Layout) -> float:
        """For the links, by one token."""
        ranks = len(pool.sites)
        if way == "tensor":
            # A ring passes sums in as many pieces as there are ranks.
            size = layout.token_bytes / (ranks if pool.backend == "ring" else 1)
            hops = tensor_hops(ranks, layout.layers, pool.backend)
        else:
            size, hops = layout.token_bytes, pipeline_hops(ranks)
        return hops * message_s(met.latency_s, size, met.bytes_per_s)

    def _layers(self, layout: Layout, pool: Pool) -> list[int]:
        """By what is free, if they fit so; else by what could be."""
        free = [site.free_bytes for site in pool.sites]
        layers = layers_by_memory(layout, free)
        if self._grants(pipeline_parts(self._stored.footprint, layout, layers), pool, free):
            return layers
        return layers_by_memory(layout, self._roomy(pool))

    def _choice(
        self,
        way: Way,
        pool: Pool,
        parts: Sequence[Footprint],
        token_s: float,
        layers: Sequence[int] = (),
        met: Meeting | None = None,
        waited_s: float = 0.0,
    ) -> Choice:
        granted = self._grants(parts, pool, [site.free_bytes for site in pool.sites])
        roomy = granted or self._grants(parts, pool, self._roomy(pool))
        least = least_grants(parts, self._wish.context, self._wish.batch)
        read = self._stored.layout.read_bytes if self._stored.layout else parts[0].weights_bytes
        fastest = max(site.bytes_per_s for site in pool.sites)
        return Choice(
            way=way,
            shares=_shares(pool, granted or least, layers, met.addresses if met else ()),
            backend=None if way == "solo" else pool.backend,
            cluster=pool.cluster,
            hop=_hop(met, waited_s) if met else None,
            why_not="" if roomy else _shortage(pool, least, self._roomy(pool)),
            needs_room=granted is None and roomy is not None,
            tokens_per_s=1 / token_s if all(site.is_known for site in pool.sites) else 0.0,
            speed=solo_s(read, fastest) / token_s,
        )

    def _refused(self, way: Way, pool: Pool, why_not: str) -> Choice:
        nothing = Grant(weights_bytes=0, kv_bytes=0, headroom_bytes=0, context=0, kv_tokens=0)
        return Choice(
            way=way,
            shares=_shares(pool, [nothing] * len(pool.sites)),
            backend=pool.backend,
            cluster=pool.cluster,
            why_not=why_not,
        )

    def _grants(
        self, parts: Sequence[Footprint], pool: Pool, free: Sequence[int]
    ) -> tuple[Grant, ...] | None:
        wirable = [site.wirable_bytes for site in pool.sites]
        return common_grants(parts, free, wirable, self._wish.context, self._wish.batch)

    def _roomy(self, pool: Pool) -> list[int]:
        """What would be free if all made room that may."""
        makes_room = self._wish.makes_room
        return [s.free_bytes + (s.removable_bytes if makes_room else 0) for s in pool.sites]


def _cannot(stored: StoredModel, way: Way, ranks: int) -> str:
    """What stands against it whatever the nodes have."""
    layout, family = stored.layout, stored.family or "model of this family"
    if layout is None:
        return "nothing is known of how its files could be split"
    if way == "tensor" and not layout.is_divisible:
        return f"mlx-lm cannot divide the layers of a {family}"
    if way == "pipeline" and not layout.is_stageable:
        return f"mlx-lm cannot give the layers of a {family} to several ranks"
    if way == "pipeline" and layout.layers < ranks:
        return f"it has {layout.layers} layers for {ranks} ranks"
    uneven = [f"{count} {words}" for words, count in layout.divided.items() if count % ranks]
    if way == "tensor" and uneven:
        return f"{ranks} ranks do not divide its {', '.join(uneven)}"
    return ""


def _hop(met: Meeting, waited_s: float) -> Hop:
    return Hop(
        latency_s=met.latency_s,
        bytes_per_s=met.bytes_per_s,
        is_measured=met.is_measured,
        tokens_per_s=1 / waited_s,
    )


def _shares(
    pool: Pool,
    granted: Sequence[Grant],
    layers: Sequence[int] = (),
    addresses: Sequence[str] = (),
) -> tuple[Share, ...]:
    return tuple(
        Share(
            node=site.node,
            grant=each,
            layers=count,
            free_bytes=max(0, site.free_bytes),
            is_stored=site.stored is not None,
            address=address,
        )
        for site, each, count, address in zip(
            pool.sites,
            granted,
            layers or [0] * len(pool.sites),
            addresses or [""] * len(pool.sites),
            strict=True,
        )
    )


def _shortage(pool: Pool, least: Sequence[Grant], free: Sequence[int]) -> str:
    what = "a part of" if len(pool.sites) > 1 else "a model of"
    lacks = [
        (site.node, *told_apart(need.total_bytes, max(0, size)))
        for site, need, size in zip(pool.sites, least, free, strict=True)
        if need.total_bytes > size
    ]
    return "; ".join(f"{node} has {left} for {what} {needed}" for node, needed, left in lacks)


def _reads(layout: Layout, whole: Footprint, parts: Sequence[Footprint]) -> list[int]:
    """Of each rank's weights, as large a part as of all of them."""
    share = layout.read_bytes / max(1, whole.weights_bytes)
    return [int(part.weights_bytes * share) for part in parts]
