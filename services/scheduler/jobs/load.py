"""Have a model served: choose nodes, fetch what is missing, reserve memory, wait until it serves."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from msgspec import structs

from proto.effective import value
from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId, NodeId, engine_id
from proto.jobs import Job, Load, NodeProgress
from proto.memory import Footprint, Grant, grant, largest_grant, least_grant
from proto.plan import Placement
from proto.presence import EngineStatus
from proto.store import CopyTask, PullTask, StoredModel
from services.scheduler.changes import Change, alter, drain, lift, remove, reserve, take_back
from services.scheduler.jobs.files import advance_task
from services.scheduler.jobs.step import (
    FAILED,
    READY,
    SILENT,
    Move,
    Step,
    ended,
    failed,
    progress,
    taken,
)
from services.scheduler.naming import defaults, fetchable_model, known_model
from services.scheduler.placing import (
    Wish,
    check_named,
    check_versions,
    choose,
    quarantine_of,
    quarantined,
)
from services.scheduler.room import Claim, make_room
from services.scheduler.shortage import gigabytes, no_memory
from services.scheduler.view import View

LOST_S = 30.0
"""A node that falls silent while it loads is given up after so long."""
PLACED = ("starting", "loading", "crashed", READY)
"""Phases in which the engine stood in the node's plan: if it is gone then, somebody removed it."""


def advance(job: Job, order: Load, view: View) -> Step:
    try:
        wish = wish_of(order, view)
        nodes = job.nodes or _chosen(order, wish, view)
        check_versions(view, wish.model, [entry.node for entry in nodes])
    except MeshError as error:
        return _given_up(job, error, view)
    moves = [_Part(job, order, wish, entry, view).move() for entry in nodes]
    error = next((move.error for move in moves if move.error), None)
    step = taken(job, moves, _slowest(moves))
    if error is not None:
        return _given_up(step.job, error, view, step)
    if all(move.is_settled for move in moves):
        return Step(ended(step.job, view.now_s, "done", _praise(job, wish, view)), step.changes)
    return step


def wish_of(order: Load, view: View) -> Wish:
    """The order with the configuration's defaults. Raises MeshError for a name that means nothing."""
    known = known_model(view, order.model)
    if known is None and not order.fetches:
        raise MeshError(
            Code.MODEL_NOT_FOUND,
            f"No node has the files of {order.model!r}; `odyssai pull {order.model}` fetches them.",
            param="model",
        )
    model = known or fetchable_model(view, order.model)
    told = defaults(view, model, order.model)
    return Wish(
        model=model,
        context=order.context or value(told.context, None),
        batch=order.batch or value(told.batch, None),
        slots=order.slots or value(told.slots, None),
        is_pinned=order.is_pinned or value(told.pinned, False),
        idle_ttl_s=order.idle_ttl_s,
        fetches=order.fetches,
        makes_room=order.makes_room,
        lifts_quarantine=order.lifts_quarantine,
    )


def _chosen(order: Load, wish: Wish, view: View) -> tuple[NodeProgress, ...]:
    if order.nodes:
        check_named(view, order.nodes)
        nodes = order.nodes
    else:
        nodes = choose(view, wish, order.replicas)
    return tuple(progress(node, "waiting") for node in dict.fromkeys(nodes))


def _given_up(job: Job, error: MeshError, view: View, step: Step | None = None) -> Step:
    """What this job placed and nobody uses yet is taken back; replicas that serve stay."""
    serving = {p.node for p in job.nodes if p.phase == READY}
    nodes = [p.node for p in job.nodes if p.node not in serving]
    changes = tuple((node, take_back(job.id)) for node in nodes)
    lifted = step.changes if step else ()
    return Step(failed(job, view.now_s, error), lifted + changes)


def _slowest(moves: Iterable[Move]) -> str:
    return next((m.progress.phase for m in moves if not m.is_settled), READY)


def _praise(job: Job, wish: Wish, view: View) -> str:
    if job.phase == "accepted":
        return "already loaded"
    held = [(n, p) for n, p in view.placements(wish.model) if not p.is_draining]
    said = [
        f"on {node} with {p.grant.kv_tokens // max(1, p.grant.context)} × {p.grant.context} tokens "
        f"in {gigabytes(p.grant.total_bytes)}"
        for node, p in held
    ]
    return "loaded " + ", ".join(said)


@dataclass(frozen=True)
class _Part:
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
            return self._silent()
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
        stored = dict(self.view.stored(self.model)).get(self.node)
        return self._place(stored) if stored else self._fetch()

    def _silent(self) -> Move:
        since_s = self.view.now_s - self.job.updated_s
        if self.was.phase == SILENT and since_s > LOST_S:
            why = f"{self.node} is not heard any more: start its agent, or load elsewhere."
            return self._error(MeshError(Code.NO_ENGINE, why))
        return self._at(SILENT, f"{self.node} is not heard")

    def _vanished(self) -> Move:
        shut_out = quarantine_of(self.view, self.node, self.model)
        if shut_out:
            return self._error(quarantined(shut_out, self.node))
        why = f"{self.model} was unloaded from {self.node} while it was being loaded."
        return self._error(MeshError(Code.CONFLICT, why))

    def _fetch(self) -> Move:
        """From a node that has it, else from the hub."""
        if not self.wish.fetches:
            why = (
                f"{self.node} does not have the files of {self.model}: "
                f"`odyssai sync {self.model} --to {self.node}` brings them."
            )
            return self._error(MeshError(Code.MODEL_NOT_FOUND, why))
        holders = [node for node, _ in self.view.stored(self.model)]
        task = (
            CopyTask(job=self.job.id, model=self.model, source=holders[0])
            if holders
            else PullTask(job=self.job.id, model=self.model)
        )
        move = advance_task(self.job, self.node, task, self.view)
        if move.error is not None:
            return move
        told = move.progress
        phase = "paused" if told.phase == "paused" else "fetching"
        return replace(move, progress=structs.replace(told, phase=phase))

    def _place(self, stored: StoredModel) -> Move:
        free = self.view.free_bytes(self.node) - self.view.promised.get(self.node, 0)
        found = largest_grant(
            stored.footprint, free, self._wirable, self.wish.context, self.wish.batch
        )
        if found is not None:
            return self._at("placing", "", reserve(self.view, self._placement(stored, found)))
        if not self.wish.makes_room:
            return self._error(self._no_memory(stored.footprint))
        return self._make_room(stored.footprint)

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
        full = grant(
            footprint, self.wish.context or footprint.context_length, self.wish.batch or 1
        )
        offered = largest_grant(
            footprint, full.total_bytes, self._wirable, self.wish.context, self.wish.batch
        )
        return list(dict.fromkeys(g.total_bytes for g in (offered, least) if g is not None))

    def _held(self, placement: Placement) -> Move:
        """It stands in the plan: is it as wished, and how far is the agent?"""
        if self.was.phase not in PLACED:
            changed = self._regranted(placement)
            if changed is not None:
                return changed
        status = self.view.status(self.node, placement.engine)
        if status is None or status.life != placement.life:
            return self._at("starting", "", *self._kept(placement))
        if status.phase == "refused":
            return self._error(
                MeshError(Code.LOAD_FAILED, status.detail or f"{self.node} refused it"),
                remove([placement.engine]) if placement.job == self.job.id else None,
            )
        phase = {"waiting": "starting"}.get(status.phase, status.phase)
        return self._at(phase, _words(status), *self._kept(placement))

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
        )
        if is_same or stored is None:
            return None
        free = self.view.free_bytes(self.node) + now.total_bytes
        found = largest_grant(
            stored.footprint, free, self._wirable, self.wish.context, self.wish.batch
        )
        if found is None:
            return self._error(self._no_memory(stored.footprint))
        change = alter(
            [placement.engine],
            grant=found,
            slots=self.wish.slots,
            life=placement.life + 1,
        )
        return self._at("starting", "anew, with other sizes", change, *self._kept(placement))

    @staticmethod
    def _longest(stored: StoredModel | None, now: Grant) -> int:
        return stored.footprint.context_length if stored else now.context

    def _kept(self, placement: Placement) -> list[Change]:
        """What an order says of a loaded model beside its sizes."""
        fields: dict[str, object] = {}
        if self.order.is_pinned and not placement.is_pinned:
            fields["is_pinned"] = True
        ttl_s = self.order.idle_ttl_s
        if ttl_s is not None and placement.idle_ttl_s != ttl_s:
            fields["idle_ttl_s"] = ttl_s
        return [alter([placement.engine], **fields)] if fields else []

    def _placement(self, stored: StoredModel, found: Grant) -> Placement:
        return Placement(
            engine=self._engine(stored),
            model=stored.id,
            source=stored.source,
            aliases=stored.aliases,
            fingerprint=stored.fingerprint,
            kind=stored.kind,
            grant=found,
            slots=self.wish.slots,
            origin="demand" if self.job.by == "demand" else "operator",
            is_pinned=self.wish.is_pinned,
            idle_ttl_s=self.wish.idle_ttl_s,
            placed_s=self.view.now_s,
            job=self.job.id,
        )

    def _engine(self, stored: StoredModel) -> EngineId:
        return engine_id(self.node, stored.source)

    @property
    def _wirable(self) -> int:
        return self.view.nodes[self.node].wirable_bytes

    def _no_memory(self, footprint: Footprint, why: str = "") -> MeshError:
        return no_memory(
            self.view, self.node, self.model, footprint, self.wish.context, self.wish.batch, why
        )

    def _at(self, phase: str, detail: str = "", *changes: Change) -> Move:
        return Move(progress(self.node, phase, detail), changes)

    def _error(self, error: MeshError, change: Change | None = None) -> Move:
        changes = (change,) if change is not None else ()
        return Move(progress(self.node, FAILED, error.message), changes, error)


def _words(status: EngineStatus) -> str:
    if status.crashes and status.phase != READY:
        return f"{status.detail} (crashed {status.crashes} times)".strip()
    return status.detail
