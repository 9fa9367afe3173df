"""`odyssai jobs`, and what is done with one: `cancel`, `pause`, `resume`, `retry`."""

import argparse
import time

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.following import follow, tell
from ops.console.operator import operator
from ops.console.tables import Table, show
from ops.console.terminal import complain, run
from ops.words import duration, job_state, ordered, progress
from proto.errors import Code, MeshError
from proto.jobs import Job, JobWish
from proto.overview import LookAround, job_view

SHOWN_S = 86_400.0
"""Jobs that ended longer ago are shown on request only."""
WISHES: dict[str, JobWish] = {
    "cancel": "cancel",
    "pause": "pause",
    "resume": "run",
    "retry": "run",
}
"""By the name of the command."""


def main(args: argparse.Namespace) -> int:
    if args.wish:
        return run(_steer, args)
    if args.follow and not args.job:
        complain("--follow needs a JOB; `odyssai watch` tells of all of them")
        return 2
    return run(_one if args.job else _all, args)


async def _all(args: argparse.Namespace, bus: Bus) -> int:
    since_s = 0.0 if args.all else time.time() - SHOWN_S
    seen = await jobs.look_around(bus, LookAround(jobs_since_s=since_s))
    if args.json:
        print(msgspec.json.encode([job_view(job) for job in seen.jobs]).decode())
    else:
        show(table(seen.jobs, time.time()))
    return 0


async def _one(args: argparse.Namespace, bus: Bus) -> int:
    job = await _called(bus, args.job)
    if args.follow:
        return await follow(bus, job, args.json)
    tell(job, args.json)
    if not args.json:
        print("\n".join(_details(job)))
    return 0


async def _steer(args: argparse.Namespace, bus: Bus) -> int:
    job = await _called(bus, args.job)
    tell(await jobs.steer(bus, job.id, WISHES[args.wish], operator()), args.json)
    return 0


async def _called(bus: Bus, beginning: str) -> Job:
    """The job whose id begins so. Raises MeshError when there is none, or more than one."""
    seen = await jobs.look_around(bus)
    found = [job for job in seen.jobs if job.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise MeshError(
            Code.NOT_FOUND, f"there is no job {beginning}; `odyssai jobs --all` lists them"
        )
    ids = ", ".join(job.id for job in found)
    raise MeshError(Code.INVALID_REQUEST, f"{beginning} may be any of {ids}; write more of it")


def table(known: tuple[Job, ...], now_s: float) -> Table:
    return Table(
        heads=("JOB", "ORDER", "STATE", "BY", "AGE", "PROGRESS"),
        rows=[_row(job, now_s) for job in known],
        nothing="No job is under way, and none ended of late.",
    )


def _row(job: Job, now_s: float) -> tuple[str, ...]:
    return (
        job.id,
        ordered(job.order),
        job_state(job),
        job.by,
        duration(now_s - job.created_s),
        job.error.message if job.error else _going(job),
    )


def _going(job: Job) -> str:
    return job.detail if job.is_over else "; ".join(map(progress, job.nodes)) or job.detail


def _details(job: Job) -> list[str]:
    told = [f"  {progress(node)}" for node in job.nodes]
    told += [f"  {job.detail}"] if job.detail else []
    return told + ([f"  {job.error.message}"] if job.error else [])
