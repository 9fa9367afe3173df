"""What becomes of a job that somebody wants paused, gone on with, tried again or cancelled."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.jobs import Convert, Job, JobWish, Load, NodeProgress, Order, Pull, Sync, Unload
from services.scheduler.naming import known_model
from services.scheduler.view import View

KEEPS_NODES = (Pull, Sync, Convert)
"""What was fetched so far is on them."""


def steered(job: Job, wish: JobWish) -> Job:
    """The job with its new wish. One that is over can only be tried again. Raises MeshError."""
    if not job.is_over:
        return structs.replace(job, wish=wish)
    if wish == "cancel" and job.state != "done":
        return job
    if wish != "run" or job.state == "done":
        raise MeshError(Code.CONFLICT, f"Job {job.id} is over: {job.detail or job.state}.")
    return structs.replace(
        job,
        state="running",
        wish="run",
        phase="accepted",
        nodes=_anew(job) if isinstance(job.order, KEEPS_NODES) else (),
        detail="",
        error=None,
        ended_s=None,
    )


def ends_load(order: Order, job: Job, view: View) -> bool:
    """An unload ends the loads of its model that are still under way on its nodes."""
    if not isinstance(order, Unload) or not isinstance(job.order, Load) or job.is_over:
        return False
    model = known_model(view, order.model)
    on = {part.node for part in job.nodes}
    is_there = not order.nodes or not on.isdisjoint(order.nodes)
    return model is not None and model == known_model(view, job.order.model) and is_there


def _anew(job: Job) -> tuple[NodeProgress, ...]:
    return tuple(NodeProgress(node=part.node, phase="waiting") for part in job.nodes)
