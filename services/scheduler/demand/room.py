"""Whose memory a model may have: which engines make room for it, and when. No bus, no clock.

Models that cannot be loaded together take turns. The order of the turns is the order
in which claims began to wait, and whoever has the turn keeps it for a minimum residence.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from proto.effective import min_residence_s
from proto.ids import EngineId, ModelId, NodeId
from proto.plan import Placement
from services.scheduler.view import GIVEN_UP, View

LOOK_AGAIN_S = 0.5
"""When that which was drained may be gone."""


@dataclass(frozen=True)
class Claim:
    """A model that is to be loaded, and how long that has been wanted."""

    model: ModelId
    by: Literal["operator", "demand"]
    since_s: float
    """Unix time."""

    @property
    def turn(self) -> tuple[bool, float, ModelId]:
        """Claims are heard in this order: people before requests, then who began to wait first."""
        return self.by != "operator", self.since_s, self.model


@dataclass(frozen=True)
class Room:
    """What has to happen before a claim fits on a node."""

    evict: tuple[EngineId, ...] = ()
    """To be drained at once, the least recently used first."""
    wait_s: float | None = 0.0
    """At most so long, as things are, until more can be done; 0: it fits now; None: it never will.
    Things change: asking earlier costs nothing.
    """
    why: str = ""
    """For people: what it waits for, or what stands in the way. Empty when it fits."""

    @property
    def is_there(self) -> bool:
        return self.wait_s == 0


@dataclass(frozen=True)
class _Resident:
    placement: Placement
    frees_bytes: int
    is_busy: bool
    idle_s: float
    ready_at: float
    """When it could first be asked."""
    free_at: float
    """From when on the claim may take its memory."""


def make_room(
    view: View, node: NodeId, need_bytes: int, claim: Claim, promised_bytes: int = 0
) -> Room:
    """Who has to go from a node so that ``need_bytes`` fit there, or how long to wait for that.

    ``promised_bytes`` is what claims before this one still need on the node: of
    what is free or can be freed, theirs is not touched. A person's claim takes
    what is idle at once and drains what is busy. A request's claim leaves every
    engine its minimum residence; after that a busy one is drained, too, since
    its requests will have their turn again. Nothing is taken unless all that is
    needed can be: until then it goes on serving.
    """
    if view.free_bytes(node) >= need_bytes + promised_bytes:
        return Room()
    leaving = [p for p in view.plan(node).placements if p.is_draining]
    coming = view.free_bytes(node) + sum(view.holding(p).counted_bytes for p in leaving)
    missing = need_bytes + promised_bytes - coming
    if missing <= 0:
        return Room(wait_s=LOOK_AGAIN_S, why=f"waiting for {_named(leaving)} to finish")
    residents = sorted(_residents(view, node, claim), key=_least_recently_used)
    ripe = [r for r in residents if r.free_at <= view.clock_s]
    if _bytes(ripe) >= missing:
        chosen = _fewest(ripe, missing)
        names = _named(r.placement for r in chosen)
        return Room(
            tuple(r.placement.engine for r in chosen),
            LOOK_AGAIN_S,
            f"making room: {names} finishes first",
        )
    if _bytes(residents) >= missing:
        wait_s = _when(residents, missing) - view.clock_s
        return Room(wait_s=wait_s, why=f"waiting for its turn ({max(1, round(wait_s))} s)")
    if promised_bytes and _bytes(residents) >= missing - promised_bytes:
        return Room(wait_s=LOOK_AGAIN_S, why="waiting for models that were asked for earlier")
    return Room(wait_s=None, why=_in_the_way(view, node))


def _residents(view: View, node: NodeId, claim: Claim) -> Iterable[_Resident]:
    """Engines that a claim may take, now or later."""
    for placement in view.plan(node).placements:
        is_taken = placement.is_pinned or placement.is_draining or placement.model == claim.model
        if not is_taken and not _came_first(placement, claim):
            yield _resident(view, node, placement, claim)


def _came_first(placement: Placement, claim: Claim) -> bool:
    """Of two people who want the same memory, one gets it, and the other does not take it away."""
    return (
        claim.by == "operator"
        and placement.origin == "operator"
        and placement.placed_s >= claim.since_s
    )


def _resident(view: View, node: NodeId, placement: Placement, claim: Claim) -> _Resident:
    beat = view.lead(placement)
    return _Resident(
        placement=placement,
        frees_bytes=view.holding(placement).counted_bytes,
        is_busy=beat is not None and beat.running + beat.queued > 0,
        idle_s=beat.idle_s if beat else 0.0,
        ready_at=_ready_at(view, placement),
        free_at=_free_at(view, node, placement, claim),
    )


def _ready_at(view: View, placement: Placement) -> float:
    leader = placement.group.leader if placement.group else placement.engine
    return view.ready_since.get(leader, view.clock_s)


def _free_at(view: View, node: NodeId, placement: Placement, claim: Claim) -> float:
    """One that does not serve yet has all of its residence before it, and even a person waits
    until it does; one that never will serve has none.
    """
    residence_s = 0.0 if claim.by == "operator" else min_residence_s(view.config)
    beat = view.lead(placement)
    if beat is not None and beat.state == "ready":
        return _ready_at(view, placement) + residence_s
    status = view.status(node, placement.engine)
    if status is not None and status.phase in GIVEN_UP:
        return view.clock_s
    return view.clock_s + max(residence_s, LOOK_AGAIN_S)


def _least_recently_used(resident: _Resident) -> tuple[bool, float, float, EngineId]:
    """Idle ones first, by how long; then busy ones, by how long they have been there."""
    return resident.is_busy, -resident.idle_s, resident.ready_at, resident.placement.engine


def _fewest(residents: list[_Resident], missing: int) -> list[_Resident]:
    """The first that are enough, without those that the later ones made needless."""
    chosen: list[_Resident] = []
    for resident in residents:
        if _bytes(chosen) >= missing:
            break
        chosen.append(resident)
    for resident in reversed(chosen):
        rest = [r for r in chosen if r is not resident]
        if _bytes(rest) >= missing:
            chosen = rest
    return chosen


def _when(residents: list[_Resident], missing: int) -> float:
    """When enough of them may be taken."""
    freed = 0
    for resident in sorted(residents, key=lambda r: r.free_at):
        freed += resident.frees_bytes
        if freed >= missing:
            return resident.free_at
    raise AssertionError("all of them together are enough")


def _bytes(residents: Iterable[_Resident]) -> int:
    return sum(resident.frees_bytes for resident in residents)


def _in_the_way(view: View, node: NodeId) -> str:
    held = view.plan(node).placements
    if not held:
        return f"all that models may take on {node} is too little"
    pinned = [p for p in held if p.is_pinned]
    if pinned:
        return f"{_named(pinned)} on {node} is pinned"
    return f"{_named(held)} on {node} cannot make enough room"


def _named(placements: Iterable[Placement]) -> str:
    return ", ".join(sorted(p.model for p in placements))
