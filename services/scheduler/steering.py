"""What becomes of a job that somebody wants paused, gone on with, tried again or cancelled."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.jobs import Convert, Job, JobWish, NodeProgress, Pull, Sync

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


def _anew(job: Job) -> tuple[NodeProgress, ...]:
    return tuple(NodeProgress(node=part.node, phase="waiting") for part in job.nodes)
