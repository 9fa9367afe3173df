"""Have several nodes serve a model together: files everywhere, then memory, then all ranks at once.

A rank serves nothing by itself: until the leader does nothing is done, and a start that fails
leaves nothing on any node.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import structs

from proto.choice import Choice, Share
from proto.errors import Code, MeshError
from proto.group import Group
from proto.ids import ModelId, NodeId, engine_id
from proto.jobs import Job, Load, NodeProgress
from proto.plan import Placement
from proto.presence import EngineStatus
from proto.store import StoredModel
from services.scheduler.changes import Change, drain, lift, reserve, take_back
from services.scheduler.demand.room import Claim, make_room
from services.scheduler.grouping.choosing import Frame, best, choices
from services.scheduler.grouping.forming import formed
from services.scheduler.grouping.unity import nodes_of
from services.scheduler.jobs.load_part import Part
from services.scheduler.jobs.placed import kept, placed
from services.scheduler.jobs.step import FAILED, READY, SILENT, Move, progress
from services.scheduler.placing.placing import Wish, quarantine_of, quarantined
from services.scheduler.view import View

GATHERING = "gathering"
"""Until the ranks have met: processes start, and look for one another."""
PLACED = (GATHERING, "loading", "verifying", "crashed", READY)
"""Phases in which all ranks stood in their nodes' plans."""
MEET_S = 120.0
"""Ranks that have not met by then cannot reach one another."""
BEFORE_MET = ("waiting", "fetching", "starting", "stopping", "crashed", GATHERING, "connecting")


@dataclass(frozen=True)
class GroupLoad:
    """All nodes' parts of a load, by rank."""

    job: Job
    order: Load
    wish: Wish
    parts: tuple[NodeProgress, ...]
    view: View

    @property
    def model(self) -> ModelId:
        return self.wish.model

    @property
    def nodes(self) -> list[NodeId]:
        return [part.node for part in self.parts]

    def moves(self) -> list[Move]:
        """Of all ranks; what they have in common comes first that applies."""
        return [
            Move(
                structs.replace(move.progress, rank=rank),
                move.changes,
                move.error,
                move.needs_bytes,
            )
            for rank, move in enumerate(self._moves())
        ]

    def _moves(self) -> list[Move]:
        held = {
            node: placement
            for node, placement in self.view.placements(self.model)
            if placement.group is not None and nodes_of(placement.group) == tuple(self.nodes)
        }
        staying = {node: p for node, p in held.items() if not p.is_draining}
        if any(node not in self.view.nodes for node in self.nodes):
            return [self._unless_silent(part) for part in self.parts]
        if len(staying) == len(self.parts):
            return [self._running(part, staying[part.node]) for part in self.parts]
        if any(part.phase in PLACED for part in self.parts):
            return self._failed(self._taken_out())
        if staying:
            return self._all("placing", "anew", take_back(self.job.id))
        if self.view.placements(self.model):
            return self._all("draining", "its last life ends first")
        return self._begun()

    def _unless_silent(self, part: NodeProgress) -> Move:
        if part.node not in self.view.nodes:
            return Part(self.job, self.order, self.wish, part, self.view).silent()
        return Move(progress(part.node, part.phase if part.phase != SILENT else "waiting"))

    # Before it is placed

    def _begun(self) -> list[Move]:
        shut_out = [
            (node, found)
            for node in self.nodes
            if (found := quarantine_of(self.view, node, self.model))
        ]
        if shut_out and self.wish.lifts_quarantine:
            return self._all("waiting", "lifting the quarantine", lift(self.model))
        if shut_out:
            node, found = shut_out[0]
            return self._failed(quarantined(found, node))
        stored = dict(self.view.stored(self.model))
        if any(node not in stored for node in self.nodes):
            return [self._with_files(part, stored) for part in self.parts]
        return self._placed(stored)

    def _with_files(self, part: NodeProgress, stored: dict[NodeId, StoredModel]) -> Move:
        if part.node in stored:
            return Move(progress(part.node, "waiting", "it has the files"))
        return Part(self.job, self.order, self.wish, part, self.view).fetch(self.model)

    def _placed(self, stored: dict[NodeId, StoredModel]) -> list[Move]:
        frame = Frame(self.order.way, None, tuple(self.nodes), self.order.cluster)
        found = choices(self.view, stored[self.nodes[0]], self.wish, frame)
        choice = best(found)
        if choice is None:
            return self._failed(no_way(self.model, found))
        if choice.needs_room:
            return self._make_room(choice)
        engines = {node: engine_id(node, stored[node].source) for node in self.nodes}
        group = formed(choice, engines, self.view.config)
        return [
            Move(
                progress(share.node, "placing"),
                (reserve(self.view, self._placement(share, stored[share.node], group)),),
            )
            for share in choice.shares
        ]

    def _make_room(self, choice: Choice) -> list[Move]:
        claim = Claim(
            self.model, "demand" if self.job.by == "demand" else "operator", self.job.created_s
        )
        moves = []
        for share in choice.shares:
            need = share.grant.total_bytes
            promised = self.view.promised.get(share.node, 0)
            room = make_room(self.view, share.node, need, claim, promised)
            if room.wait_s is None:
                why = f"{self.model} lacks room on {share.node}: {room.why}."
                return self._failed(MeshError(Code.NO_MEMORY, why, param="model"))
            phase = "waiting" if room.is_there else "making room"
            evicted = (drain(room.evict),) if room.evict else ()
            moves.append(Move(progress(share.node, phase, room.why), evicted, needs_bytes=need))
        return moves

    def _placement(self, share: Share, stored: StoredModel, group: Group) -> Placement:
        now_s, node = self.view.now_s, share.node
        whole = placed(self.job, self.order, self.wish, now_s, node, stored, share.grant)
        return structs.replace(whole, group=group)

    # Once it is

    def _running(self, part: NodeProgress, placement: Placement) -> Move:
        status = self.view.status(part.node, placement.engine)
        if status is not None and status.phase == "refused":
            why = f"{part.node}: {status.detail or 'it refused its part'}"
            return self._error(part.node, MeshError(Code.LOAD_FAILED, why))
        phase = self._phase(placement, status)
        if phase == GATHERING and self._waits_too_long():
            return self._error(part.node, self._unmet())
        detail = status.detail if status and phase not in (GATHERING, READY) else ""
        return Move(progress(part.node, phase, detail), kept(self.order, placement))

    def _phase(self, placement: Placement, status: EngineStatus | None) -> str:
        """The agent's word where it is worse than the rank's own."""
        if status is None or status.life != placement.life:
            return GATHERING
        if status.phase == READY or (status.phase == "crashed" and status.crashes):
            return status.phase
        rank = self.view.ranks.get(placement.engine)
        said = rank.phase if rank is not None else status.phase
        if said == READY:
            return "verifying"
        return GATHERING if said in BEFORE_MET else said

    def _waits_too_long(self) -> bool:
        """Nothing of it has changed for so long: the record says the same all the time."""
        is_waiting = all(part.phase == GATHERING for part in self.parts)
        return is_waiting and self.view.age_s(self.job) > MEET_S

    def _unmet(self) -> MeshError:
        engines = [p.engine for _, p in self.view.placements(self.model)]
        ranks = [self.view.ranks[engine] for engine in engines if engine in self.view.ranks]
        said = "; ".join(f"{rank.engine} {rank.detail or rank.phase}" for rank in ranks)
        return MeshError(
            Code.LOAD_FAILED,
            f"The ranks of {self.model} on {', '.join(self.nodes)} have not found together within "
            f"{MEET_S:.0f} s ({said or 'none of them was heard'}): check that these nodes reach "
            "one another at the addresses of their cluster, or by which they reach the bus.",
        )

    # When it comes to nothing

    def _taken_out(self) -> MeshError:
        for node in self.nodes:
            found = quarantine_of(self.view, node, self.model)
            if found is not None:
                return quarantined(found, node)
        where = ", ".join(self.nodes)
        why = f"{self.model} was unloaded from {where} while it was being loaded."
        return MeshError(Code.CONFLICT, why)

    def _all(self, phase: str, detail: str, *changes: Change) -> list[Move]:
        return [Move(progress(node, phase, detail), changes) for node in self.nodes]

    def _failed(self, error: MeshError) -> list[Move]:
        return [self._error(node, error) for node in self.nodes]

    def _error(self, node: NodeId, error: MeshError) -> Move:
        return Move(progress(node, FAILED, error.message), error=error)


def no_way(model: ModelId, found: Iterable[Choice]) -> MeshError:
    """Of several nodes together, with what stands against each way."""
    whys = dict.fromkeys(choice.why_not for choice in found if choice.way != "solo")
    said = "; ".join(list(whys)[:3]) or "there are not enough nodes that take models"
    return MeshError(
        Code.NO_MEMORY,
        f"{model} cannot be shared so: {said}. `odyssai plan {model}` shows every way.",
        param="model",
    )
