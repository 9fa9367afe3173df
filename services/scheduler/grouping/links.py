"""How nodes reach one another, by what their agents have measured: where they would meet, how fast.

The links of a group are as fast as its slowest one, and none is missing: ranks wait for all.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from proto.cluster import ClusterConfig
from proto.group import Backend
from proto.ids import NodeId
from proto.link import Link
from services.scheduler.grouping.speed import LATENCY_S
from services.scheduler.view import View

WORTH_LEAVING = 0.8
"""Another address than the usual one is taken for less than this part of its latency: figures
jitter, and a group keeps its addresses."""
GRAIN_S = 20e-6
"""Latencies that are powers of two of it apart are told apart; closer ones are alike."""


@dataclass(frozen=True)
class Meeting:
    """Of certain nodes, by rank."""

    addresses: tuple[str, ...]
    """Empty: the usual one."""
    latency_s: float
    bytes_per_s: float = 0.0
    """0: not known."""
    is_measured: bool = False
    why_not: str = ""


class _Trial(NamedTuple):
    by: NodeId
    link: Link


@dataclass(frozen=True)
class _Place:
    """A node's address, as the others see it."""

    address: str
    """Empty: the usual one."""
    trials: tuple[_Trial, ...]

    @property
    def latency_s(self) -> float:
        return max((_latency_s(trial.link) for trial in self.trials), default=0.0)

    @property
    def misses(self) -> int:
        return sum(trial.link.round_trip_s is None for trial in self.trials)


def meeting(
    view: View, nodes: Sequence[NodeId], backend: Backend, cluster: ClusterConfig | None = None
) -> Meeting:
    """At a declared cluster's addresses, else at those where all others reach a node fastest."""
    declared = {m.id: m.address for m in cluster.members} if cluster else {}
    usual_s = LATENCY_S[backend]
    places = [_place(view, node, nodes, declared.get(node, "")) for node in nodes]
    addresses = tuple(
        declared.get(node, "") or (place.address if place else "")
        for node, place in zip(nodes, places, strict=True)
    )
    if why_not := "; ".join(_gaps(nodes, places)):
        return Meeting(addresses, usual_s, why_not=why_not)
    links = [trial.link for place in places if place for trial in place.trials]
    rates = [link.bytes_per_s for link in links if link.bytes_per_s]
    if cluster and cluster.latency_us:
        return Meeting(addresses, cluster.latency_us * 1e-6)
    # What TCP takes says nothing of RDMA, over whatever cable.
    if backend != "ring" or not links:
        return Meeting(addresses, usual_s)
    is_whole = all(place and len(place.trials) == len(nodes) - 1 for place in places)
    slowest_s = max(map(_latency_s, links))
    return Meeting(
        addresses,
        slowest_s if is_whole else max(slowest_s, usual_s),
        min(rates, default=0.0),
        is_measured=is_whole,
    )


def _place(view: View, node: NodeId, nodes: Sequence[NodeId], declared: str) -> _Place | None:
    """``declared``: its address in a cluster, if it has one. None: nobody has tried it."""
    trials = [
        _Trial(other, link)
        for other in nodes
        if other != node
        for link in _links(view, other, node)
    ]
    if declared:
        found = tuple(trial for trial in trials if trial.link.address == declared)
        return _Place(declared, found) if found else None
    usual = _Place("", tuple(trial for trial in trials if trial.link.is_usual))
    if not usual.trials:
        return None
    others = {trial.link.address for trial in trials if not trial.link.is_usual}
    places = [
        _Place(address, tuple(trial for trial in trials if trial.link.address == address))
        for address in sorted(others)
    ]
    tried_by_all = [place for place in places if len(place.trials) == len(usual.trials)]
    best = min([usual, *tried_by_all], key=lambda place: (place.misses, place.latency_s))
    return best if best.latency_s < WORTH_LEAVING * usual.latency_s else usual


def _gaps(nodes: Sequence[NodeId], places: Sequence[_Place | None]) -> Iterator[str]:
    for node, place in zip(nodes, places, strict=True):
        for by, link in place.trials if place else ():
            if link.round_trip_s is None:
                yield f"{by} does not reach {node} at {link.address} ({link.trouble})"


def _links(view: View, one: NodeId, other: NodeId) -> list[Link]:
    """From one node to the other."""
    beat = view.nodes.get(one)
    return [link for link in beat.links if link.peer == other] if beat else []


def _latency_s(link: Link) -> float:
    return math.inf if link.round_trip_s is None else link.round_trip_s / 2


# Who is near


def nearness(view: View, nodes: Sequence[NodeId]) -> dict[frozenset[NodeId], int]:
    """Between each two, coarsely: less is nearer. Empty where nothing was measured."""
    found = {frozenset(pair): _best_s(view, *pair) for pair in combinations(nodes, 2)}
    if all(latency_s is None for latency_s in found.values()):
        return {}
    usual_s = LATENCY_S["ring"]
    return {pair: _grade(usual_s if it is None else it) for pair, it in found.items()}


def _best_s(view: View, one: NodeId, other: NodeId) -> float | None:
    """Both ways, by the slower one; None: nobody has tried."""
    ways = [_links(view, *pair) for pair in ((one, other), (other, one))]
    return max((min(map(_latency_s, way)) for way in ways if way), default=None)


def _grade(latency_s: float) -> int:
    if math.isinf(latency_s):
        return 1000
    return round(math.log2(max(latency_s, GRAIN_S) / GRAIN_S))
