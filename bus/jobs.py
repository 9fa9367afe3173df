"""Long administrative acts, as those ask for them and follow them who do not carry them out.

Whoever leads may end at any moment and another takes over within three seconds: a question that
nobody answers is asked again meanwhile. That is harmless, since orders and wishes are idempotent.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TypeVar

from msgspec.structs import replace

from bus.connection import Bus
from bus.errors import BusError, NoAnswer, NobodyThere
from proto.audit import Actor
from proto.choice import Weigh, Weighed
from proto.errors import Code, MeshError
from proto.ids import JobId
from proto.jobs import ENDED, Job, JobWish, Order, SteerJob, Submit
from proto.overview import LookAround, Overview
from proto.subjects import JOB_TELEMETRY, LOOK_AROUND, STEER_JOB, SUBMIT, WEIGH, Question
from proto.telemetry import JobEvent

M = TypeVar("M")
A = TypeVar("A")

PATIENCE_S = 5.0
"""How long a question may find nobody."""
ANSWER_S = 2.0
LAG_S = 0.5
"""In which every scheduler has heard of a job."""
PAUSE_S = 0.2
"""Between two tries."""
SILENCE_S = 2.0
"""A job that tells nothing for so long is looked up: telemetry may be lost."""


async def submit(bus: Bus, order: Order, actor: Actor, hub_token: str = "") -> Job:
    """The job that carries the order out; an older one where the same is under way.

    Raises MeshError when it is refused or nobody leads.
    """
    asked = Submit(order=order, hub_token=hub_token, actor=actor)
    return (await _ask(bus, SUBMIT, asked, "No scheduler leads the mesh")).job


async def steer(bus: Bus, job: JobId, wish: JobWish, actor: Actor) -> Job:
    """Raises MeshError when it cannot be, or nobody leads."""
    asked = SteerJob(job=job, wish=wish, actor=actor)
    return (await _ask(bus, STEER_JOB, asked, "No scheduler leads the mesh")).job


async def look_around(bus: Bus, question: LookAround | None = None) -> Overview:
    """Raises MeshError when no scheduler answers."""
    return await _ask(bus, LOOK_AROUND, question or LookAround(), "No scheduler answers")


async def weigh(bus: Bus, question: Weigh) -> Weighed:
    """Raises MeshError when it is refused or no scheduler answers."""
    return await _ask(bus, WEIGH, question, "No scheduler answers")


async def find(bus: Bus, job: JobId) -> Job:
    """Raises MeshError when there is no such job.

    A scheduler that does not lead hears of a new one a moment later than who ordered it.
    """
    end = time.monotonic() + LAG_S
    while True:
        seen = await look_around(bus, LookAround(job=job))
        for known in seen.jobs:
            if known.id == job:
                return known
        if time.monotonic() > end:
            raise _unknown(job)
        await asyncio.sleep(PAUSE_S)


def _unknown(job: JobId) -> MeshError:
    return MeshError(
        Code.NOT_FOUND, f"There is no job {job!r}; jobs are remembered for seven days.", param="job"
    )


async def follow(bus: Bus, id: JobId) -> AsyncGenerator[Job | None]:
    """A job as it is, then after every change until it is over; the last is its final record.

    None after SILENCE_S without any change. Raises MeshError when it is not to be found.
    """
    told: asyncio.Queue[JobEvent] = asyncio.Queue()

    def hear(event: JobEvent) -> None:
        if event.job == id:
            told.put_nowait(event)

    async with bus.listening(JOB_TELEMETRY, hear):
        job = await find(bus, id)
        yield job
        while not job.is_over:
            now = await _next(bus, job, told)
            yield now if now != job else None
            job = now


async def _next(bus: Bus, job: Job, told: asyncio.Queue[JobEvent]) -> Job:
    try:
        async with asyncio.timeout(SILENCE_S):
            event = await told.get()
    except TimeoutError:
        return _newer(job, await find(bus, job.id))
    # Events hold no error: the end is read where it is whole, from a scheduler that has it by now.
    return await _ended(bus, job) if event.state in ENDED else after(job, event)


async def _ended(bus: Bus, job: Job) -> Job:
    end = time.monotonic() + SILENCE_S
    while not (job := await find(bus, job.id)).is_over and time.monotonic() < end:
        await asyncio.sleep(PAUSE_S)
    return job


def _newer(known: Job, found: Job) -> Job:
    """Schedulers hear of changes one after the other."""
    return found if found.updated_s >= known.updated_s else known


def after(job: Job, event: JobEvent) -> Job:
    """The job as the event tells it; what is older than the record changes nothing."""
    if event.at_s < job.updated_s:
        return job
    return replace(
        job,
        state=event.state,
        phase=event.phase,
        nodes=event.nodes,
        detail=event.detail,
        updated_s=event.at_s,
    )


async def _ask(bus: Bus, question: Question[M, A], asked: M, nobody: str) -> A:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await bus.ask(question, asked, timeout_s=ANSWER_S)
        except BusError as error:
            failed = _unanswered(error, nobody)
        except MeshError as refused:
            if refused.code is not Code.NO_LEADER:
                raise
            failed = refused
        if time.monotonic() > end:
            raise failed
        await asyncio.sleep(PAUSE_S)


def _unanswered(error: BusError, nobody: str) -> MeshError:
    if isinstance(error, NobodyThere | NoAnswer):
        why = f"{nobody} at this moment; is `odyssai scheduler` running? Try again."
        return MeshError(Code.NO_LEADER, why, retry_after_s=1.0)
    why = f"The mesh cannot be reached: {error}. Try again."
    return MeshError(Code.BUS_UNAVAILABLE, why, retry_after_s=1.0)
