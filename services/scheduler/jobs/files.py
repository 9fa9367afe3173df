"""Work on nodes' files, as every job that needs some has it done: a task in the plan, watched."""

from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.jobs import Job, NodeProgress
from proto.presence import TaskStatus
from proto.store import StoreTask
from services.scheduler.changes import add_task
from services.scheduler.jobs.step import (
    DONE,
    FAILED,
    SILENT,
    Move,
    Step,
    ended,
    failed,
    progress,
    taken,
)
from services.scheduler.view import View

ENDED = ("done", "failed", "cancelled")
LISTING = "listing"
LISTED_S = 15.0
"""A node looks at its disk at least every ten seconds. What it does not list by then, it will not:
its files are no whole model.
"""


def advance_task(job: Job, node: NodeId, task: StoreTask, view: View) -> Move:
    """Have a node do it. What it said of an earlier try is waited out first."""
    status = status_of(view, node, job.id)
    if not any(wanted.task.job == job.id for wanted in view.plan(node).tasks):
        if status is not None:
            return Move(progress(node, "waiting", "an earlier try ends"))
        return Move(progress(node, "waiting"), (add_task(task),))
    if node not in view.nodes:
        return Move(progress(node, SILENT, f"{node} is not heard; it goes on when it is back"))
    if status is None:
        return Move(progress(node, "waiting"))
    if status.phase in ("failed", "cancelled"):
        code = Code.of(status.code) if status.code else Code.CANCELLED
        error = MeshError(code, status.error or f"{node} gave it up")
        return Move(progress(node, FAILED, error.message), error=error)
    return Move(_told(node, status))


def once_listed(move: Move, was: NodeProgress, is_listed: bool, job: Job, view: View) -> Move:
    """Work is done when everybody can see what came of it: the next order may build on it."""
    is_late = was.phase == LISTING and view.age_s(job) > LISTED_S
    if move.progress.phase != DONE or is_listed or is_late:
        return move
    return replace(move, progress=structs.replace(move.progress, phase=LISTING))


def settle(job: Job, moves: Iterable[Move], view: View, phase: str, detail: str) -> Step:
    """Done when every node is, failed when none goes on and one has failed."""
    moves = list(moves)
    step = taken(job, moves, phase)
    if not all(move.is_settled for move in moves):
        return step
    errors = [(move.progress.node, move.error) for move in moves if move.error]
    if not errors:
        return Step(ended(step.job, view.now_s, "done", detail), step.changes)
    node, error = errors[0]
    if len(moves) > 1:
        error = MeshError(error.code, f"{node}: {error.message}")
    return Step(failed(step.job, view.now_s, error), step.changes)


def roomiest(view: View) -> NodeId:
    """The living node with the most free disk; ties go to the first id. Raises MeshError."""
    if not view.nodes:
        raise MeshError(
            Code.NO_ENGINE,
            "No node is heard: start an agent with `odyssai up` or `odyssai join`.",
        )

    def free(node: NodeId) -> int:
        return view.stores[node].free_disk_bytes if node in view.stores else 0

    return max(sorted(view.nodes), key=free)


def lists(view: View, node: NodeId, model: ModelId) -> bool:
    """The node has it on disk, by whatever name."""
    store = view.stores.get(node)
    return store is not None and any(
        model == known.id or model in known.aliases for known in store.models
    )


def as_said(part: NodeProgress, job: JobId, view: View) -> NodeProgress:
    """A node's part of a job by what the node says of its task, if it says anything."""
    status = status_of(view, part.node, job)
    return structs.replace(_told(part.node, status), rank=part.rank) if status else part


def status_of(view: View, node: NodeId, job: JobId) -> TaskStatus | None:
    beat = view.nodes.get(node)
    return next((t for t in beat.tasks if t.job == job), None) if beat else None


def _told(node: NodeId, status: TaskStatus) -> NodeProgress:
    phase = DONE if status.phase == "done" else status.phase
    return structs.replace(
        progress(node, phase, status.step),
        done_bytes=status.done_bytes,
        total_bytes=status.total_bytes,
    )
