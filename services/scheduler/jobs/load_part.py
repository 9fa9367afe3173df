"""One node's part of a load: fetch the files, reserve the memory, wait until the engine serves."""

from dataclasses import dataclass, replace
from typing import Literal

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.jobs import Job, Load, NodeProgress
from proto.memory import Footprint, Grant, grant, largest_grant, least_grant
from proto.plan import Draft, Placement
from proto.presence import EngineStatus
from proto.store import CopyTask, PullTask, StoredModel
from services.scheduler.changes import Change, alter, drain, forget_task, lift, reserve
from services.scheduler.demand.room import Claim, make_room
from services.scheduler.jobs.files import advance_task
from services.scheduler.jobs.placed import kept, placed
from services.scheduler.jobs.step import FAILED, READY, SILENT, Move, progress
from services.scheduler.naming import fetchable_model
from services.scheduler.placing.placing import Wish, needed, quarantine_of, quarantined
from services.scheduler.placing.shortage import no_memory
from services.scheduler.view import View

LOST_S = 30.0
"""A node that falls silent while it loads is given up after so long."""
PLACED = ("starting", "loading", "crashed", READY)
"""Phases in which the engine stood in the node's plan: if it is gone then, somebody removed it."""


@dataclass(frozen=True)
class Part:
    """One node's part of a load."""

    job: Job
    order: Load
    wish: Wish
    was: NodeProgress
    view: View

    @property
    def node(self) -> NodeId:
        return self.was.node

    @property
    def model(self) -> ModelId:
        return self.wish.model

    def move(self) -> Move:
        """The first of these that applies."""
        if self.node not in self.view.nodes:
            return self.silent()
        held = [p for p in self.view.plan(self.node).placements if p.model == self.model]
        staying = next((p for p in held if not p.is_draining), None)
        if staying is not None:
            return self._held(staying)
        if self.was.phase in PLACED:
            return self._vanished()
        if held:
            return self._at("draining", "its last life ends first")
        shut_out = quarantine_of(self.view, self.node, self.model)
        if shut_out and self.wish.lifts_quarantine:
            return self._at("waiting", "lifting the quarantine", lift(self.model))
        if shut_out:
            return self._error(quarantined(shut_out, self.node))
        missing = self._missing
        return self.fetch(missing) if missing else self._place(self._stored[self.model])

    def silent(self) -> Move:
        if self.was.phase == SILENT and self.view.age_s(self.job) > LOST_S:
            why = f"{self.node} is not heard any more: start its agent, or load elsewhere."
            return self._error(MeshError(Code.NO_ENGINE, why))
        return self._at(SILENT, f"{self.node} is not heard")

    def _vanished(self) -> Move:
        shut_out = quarantine_of(self.view, self.node, self.model)
        if shut_out:
            return self._error(quarantined(shut_out, self.node))
        why = f"{self.model} was unloaded from {self.node} while it was being loaded."
        return self._error(MeshError(Code.CONFLICT, why))

    @property
    def _stored(self) -> dict[ModelId, StoredModel]:
        """What this node has of the files."""
        names = [self.model, *([self.wish.draft] if self.wish.draft else [])]
        found = {name: dict(self.view.stored(name)).get(self.node) for name in names}
        return {name: stored for name, stored in found.items() if stored is not None}

    @property
    def _missing(self) -> ModelId | None:
        """The next model whose files have to come."""
        if self.model not in self._stored:
            return self.model
        return self.wish.draft if self.wish.draft not in self._stored else None

    def fetch(self, model: ModelId) -> Move:
        """From a node that has it, else from the hub."""
        if not self.wish.fetches:
            why = (
                f"{self.node} does not have the files of {model}: "
                f"`odyssai sync {model} --to {self.node}` brings them."
            )
            return self._error(MeshError(Code.MODEL_NOT_FOUND, why))
        if self._has_fetched_another(model):
            return self._at("fetching", f"{model} is next", forget_task(self.job.id))
        try:
            task = self._task(model)
        except MeshError as error:
            return self._error(error)
        move = advance_task(self.job, self.node, task, self.view)
        if move.error is not None:
            return move
        told = move.progress
        phase = "paused" if told.phase == "paused" else "fetching"
        return replace(move, progress=structs.replace(told, phase=phase))

    def _has_fetched_another(self, model: ModelId) -> bool:
        """A job has one task at a time on a node."""
        tasks = [wanted.task for wanted in self.view.plan(self.node).tasks]
        mine = [task for task in tasks if task.job == self.job.id]
        return any(task.model != model and task.model in self._stored for task in mine)

    def _task(self, model: ModelId) -> CopyTask | PullTask:
        """Raises MeshError when neither a node that is heard nor the hub can have it."""
        source = self._source(model)
        if source is not None:
            return CopyTask(job=self.job.id, model=model, source=source)
        return PullTask(job=self.job.id, model=fetchable_model(self.view, model))

    def _source(self, model: ModelId) -> NodeId | None:
        """A node with the files that are served already, if any is; else any that has some."""
        served = {p.fingerprint for _, p in self.view.placements(model)}
        stored = self.view.stored(model)
        same = [node for node, known in stored if known.fingerprint in served]
        return next(iter([*same, *(node for node, _ in stored)]), None)

    def _place(self, stored: StoredModel) -> Move:
        free = self.view.free_bytes(self.node) - self.view.promised.get(self.node, 0)
        footprint = needed(self.view, self.node, self.wish, stored)
        found = largest_grant(footprint, free, self._wirable, self.wish.context, self.wish.batch)
        if found is not None:
            return self._at("placing", "", reserve(self.view, self._placement(stored, found)))
        if not self.wish.makes_room:
            return self._error(self._no_memory(footprint))
        return self._make_room(footprint)

    def _make_room(self, footprint: Footprint) -> Move:
        """For one request of full length if that can be, else for the least."""
        by: Literal["operator", "demand"] = "demand" if self.job.by == "demand" else "operator"
        claim = Claim(self.model, by, self.job.created_s)
        promised = self.view.promised.get(self.node, 0)
        why = ""
        for need in self._modest_needs(footprint):
            room = make_room(self.view, self.node, need, claim, promised)
            if room.wait_s is None:
                why = room.why
                continue
            evicted = drain(room.evict)
            detail = room.why or "waiting for memory"
            return Move(
                progress(self.node, "making room", detail),
                (evicted,) if room.evict else (),
                needs_bytes=need,
            )
        return self._error(self._no_memory(footprint, why))

    def _modest_needs(self, footprint: Footprint) -> list[int]:
        least = least_grant(footprint, self.wish.context, self.wish.batch)
        full = grant(footprint, self.wish.context or footprint.context_length, self.wish.batch or 1)
        offered = largest_grant(
            footprint, full.total_bytes, self._wirable, self.wish.context, self.wish.batch
        )
        return list(dict.fromkeys(g.total_bytes for g in (offered, least) if g is not None))

    def _held(self, placement: Placement) -> Move:
        """It stands in the plan: as wished or not, and its agent is so far with it."""
        if self.was.phase not in PLACED:
            changed = self._regranted(placement)
            if changed is not None:
                return changed
        status = self.view.status(self.node, placement.engine)
        if status is None or status.life != placement.life:
            return self._at("starting", "", *kept(self.order, placement))
        if status.phase == "refused":
            return self._error(
                MeshError(Code.LOAD_FAILED, status.detail or f"{self.node} refused it")
            )
        phase = {"waiting": "starting"}.get(status.phase, status.phase)
        return self._at(phase, _words(status), *kept(self.order, placement))

    def _regranted(self, placement: Placement) -> Move | None:
        """A loaded model with other sizes than were asked for now starts anew with them.

        None: it is as asked for.
        """
        now = placement.grant
        context, batch = self.order.context, self.order.batch
        stored = dict(self.view.stored(self.model)).get(self.node)
        is_same = (
            (context is None or now.context == min(context, self._longest(stored, now)))
            and (batch is None or now.kv_tokens == batch * now.context)
            and (self.order.slots is None or placement.slots == self.order.slots)
            and (self.order.draft is None or self._drafts(placement) == self.wish.draft)
        )
        if is_same or stored is None:
            return None
        if self._missing:
            return self.fetch(self._missing)
        free = self.view.free_bytes(self.node) + now.total_bytes
        footprint = needed(self.view, self.node, self.wish, stored)
        found = largest_grant(footprint, free, self._wirable, self.wish.context, self.wish.batch)
        if found is None:
            return self._error(self._no_memory(footprint))
        change = alter(
            [placement.engine],
            grant=found,
            slots=self.wish.slots,
            draft=self._draft,
            life=placement.life + 1,
        )
        return self._at("starting", "anew, with other sizes", change, *kept(self.order, placement))

    @staticmethod
    def _drafts(placement: Placement) -> ModelId | None:
        return placement.draft.model if placement.draft else None

    @property
    def _draft(self) -> Draft | None:
        """The one that was wished for, whose files are here."""
        stored = self._stored.get(self.wish.draft) if self.wish.draft else None
        return Draft(model=stored.id, source=stored.source) if stored else None

    @staticmethod
    def _longest(stored: StoredModel | None, now: Grant) -> int:
        return stored.footprint.context_length if stored else now.context

    def _placement(self, stored: StoredModel, found: Grant) -> Placement:
        now_s = self.view.now_s
        whole = placed(self.job, self.order, self.wish, now_s, self.node, stored, found)
        return structs.replace(whole, draft=self._draft)

    @property
    def _wirable(self) -> int:
        return self.view.nodes[self.node].wirable_bytes

    def _no_memory(self, footprint: Footprint, why: str = "") -> MeshError:
        return no_memory(
            self.view, self.node, self.model, footprint, self.wish.context, self.wish.batch, why
        )

    def _at(self, phase: str, detail: str = "", *changes: Change) -> Move:
        return Move(progress(self.node, phase, detail), changes)

    def _error(self, error: MeshError) -> Move:
        return Move(progress(self.node, FAILED, error.message), error=error)


def _words(status: EngineStatus) -> str:
    if status.crashes and status.phase != READY:
        return f"{status.detail} (crashed {status.crashes} times)".strip()
    return status.detail
