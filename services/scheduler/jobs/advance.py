"""The next step of any job: by its kind, or by what was wished of it."""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from proto.ids import NodeId
from proto.jobs import (
    Convert,
    Drain,
    Job,
    Load,
    Pin,
    Pull,
    Remove,
    RemoveNode,
    Restart,
    Sync,
    Undrain,
    Unload,
)
from services.scheduler.changes import Change, take_back, want
from services.scheduler.jobs import (
    convert,
    drain,
    elsewhere,
    load,
    pin,
    pull,
    remove,
    remove_node,
    restart,
    sync,
    unload,
)
from services.scheduler.jobs.files import ENDED, as_said, status_of
from services.scheduler.jobs.step import Step, ended
from services.scheduler.view import View

KINDS: dict[type, Callable[[Job, Any, View], Step]] = {
    Load: load.advance,
    Unload: unload.advance,
    Pin: pin.advance,
    Pull: pull.advance,
    Sync: sync.advance,
    Convert: convert.advance,
    Remove: remove.advance,
    Drain: drain.advance,
    Undrain: drain.advance_undrain,
    Restart: restart.advance,
    RemoveNode: remove_node.advance,
}
UNDO: dict[type, Callable[[Job, Any, View], tuple[tuple[NodeId, Change], ...]]] = {
    Unload: unload.undo,
    Drain: drain.undo,
    RemoveNode: remove_node.undo,
}
"""What a cancelled job takes back beside its placements and tasks."""


def advance(job: Job, view: View) -> Step:
    """Harmless when repeated: a leader that died half-way leaves no more than is done again."""
    if job.wish == "cancel":
        return _cancel(job, view)
    if job.wish == "pause":
        return _pause(job, view)
    if job.state == "paused":
        running = structs.replace(job, state="running")
        return Step(running, _wanting("run", job, view))
    if isinstance(job.order, Load | Unload) and elsewhere.is_elsewhere(job, job.order, view):
        return elsewhere.advance(job, job.order, view)
    return KINDS[type(job.order)](job, job.order, view)


def _pause(job: Job, view: View) -> Step:
    nodes = tuple(as_said(part, job.id, view) for part in job.nodes)
    paused = structs.replace(job, state="paused", nodes=nodes)
    return Step(paused, _wanting("pause", job, view))


def _cancel(job: Job, view: View) -> Step:
    """Over when nothing of it is left on any node that is heard."""
    if job.phase != "cancelling":
        undo = UNDO.get(type(job.order))
        undone = undo(job, job.order, view) if undo else ()
        cancelling = structs.replace(job, state="running", phase="cancelling")
        return Step(cancelling, (*_taking_back(job, view), *undone))
    if any(_is_left(job, node, view) for node in view.nodes):
        return Step(job, _taking_back(job, view))
    return Step(ended(job, view.now_s, "cancelled", "cancelled"))


def _taking_back(job: Job, view: View) -> tuple[tuple[NodeId, Change], ...]:
    return tuple((node, take_back(job.id)) for node in view.plans if _is_planned(job, node, view))


def _wanting(wanted: str, job: Job, view: View) -> tuple[tuple[NodeId, Change], ...]:
    return tuple((node, want(wanted, job.id)) for node in view.plans if _has_task(job, node, view))


def _is_planned(job: Job, node: NodeId, view: View) -> bool:
    return _has_task(job, node, view) or any(p.job == job.id for p in view.plan(node).placements)


def _has_task(job: Job, node: NodeId, view: View) -> bool:
    return any(wanted.task.job == job.id for wanted in view.plan(node).tasks)


def _is_left(job: Job, node: NodeId, view: View) -> bool:
    """A placement, a process of one that was taken back, or a task that has not ended."""
    plan = view.plan(node)
    if any(p.job == job.id for p in plan.placements):
        return True
    status = status_of(view, node, job.id)
    if _has_task(job, node, view) and (status is None or status.phase not in ENDED):
        return True
    planned = {p.engine for p in plan.placements}
    is_its_node = any(part.node == node for part in job.nodes)
    return is_its_node and any(s.engine not in planned for s in view.nodes[node].engines)
