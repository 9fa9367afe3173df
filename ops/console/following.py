"""A job on a terminal, from its first phase to its end."""

import asyncio
import sys
from contextlib import AbstractContextManager, aclosing

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.progress import Show, bars, lines, records
from ops.console.terminal import complain
from ops.words import job_state, ordered
from proto.errors import MeshError
from proto.jobs import Job
from proto.overview import job_view


async def follow(bus: Bus, job: Job, as_json: bool) -> int:
    """The exit status: 0 when it is done. Who cannot see its end is told that the job goes on."""
    try:
        with _shown(as_json) as show:
            job = await _followed(bus, job, show)
    except (asyncio.CancelledError, MeshError):
        complain(
            f"the job goes on; `odyssai jobs {job.id} --follow` shows it, "
            f"`odyssai cancel {job.id}` ends it"
        )
        raise
    return _ended(job, as_json)


async def _followed(bus: Bus, job: Job, show: Show) -> Job:
    async with aclosing(jobs.follow(bus, job.id)) as states:
        async for state in states:
            if state is not None:
                job = state
                show(job)
    return job


def _shown(as_json: bool) -> AbstractContextManager[Show]:
    if as_json:
        return records()
    return bars() if sys.stdout.isatty() else lines()


def _ended(job: Job, as_json: bool) -> int:
    if job.state == "done":
        if not as_json:
            print(job.detail or f"{ordered(job.order)}: done")
        return 0
    why = job.error.message if job.error else job.detail
    complain(why or f"{ordered(job.order)}: {job.state}")
    return 1


def tell(job: Job, as_json: bool) -> None:
    """One look at a job."""
    if as_json:
        print(msgspec.json.encode(job_view(job)).decode())
    else:
        print(f"{job.id}  {ordered(job.order)}  {job_state(job)}")
