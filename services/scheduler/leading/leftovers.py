"""What jobs that are over have left: tasks in plans, and jobs that were begun for their sake."""

from proto.ids import JobId, NodeId
from proto.jobs import Job
from proto.plan import WantedTask
from services.scheduler.changes import Change, forget_task, want
from services.scheduler.jobs.files import ENDED, status_of
from services.scheduler.view import View


def leftovers(view: View) -> list[tuple[NodeId, Change]]:
    """Tasks that have ended leave the plan, others are told to end.

    On nodes that are heard; the others say how it ended when they are back.
    """
    found = [
        (node, _change(node, wanted, view))
        for node in sorted(view.nodes)
        for wanted in view.plan(node).tasks
    ]
    return [(node, change) for node, change in found if change is not None]


def orphans(view: View) -> list[Job]:
    """Jobs under way for the sake of one that is over."""
    return [job for job in view.jobs.values() if not job.is_over and _is_orphan(job, view)]


def _is_orphan(job: Job, view: View) -> bool:
    parent = view.jobs.get(JobId(job.by.partition(" ")[2]))
    return parent is not None and parent.is_over and job.wish != "cancel"


def _change(node: NodeId, wanted: WantedTask, view: View) -> Change | None:
    job = view.jobs.get(wanted.task.job)
    if job is not None and not job.is_over:
        return None
    status = status_of(view, node, wanted.task.job)
    if status is not None and status.phase in ENDED:
        return forget_task(wanted.task.job)
    return want("cancel", wanted.task.job) if wanted.wanted != "cancel" else None
