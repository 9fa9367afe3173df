"""Job records: written by the leader, told as telemetry."""

from collections.abc import Iterable

from msgspec import structs

from bus.connection import Bus
from bus.errors import Conflict
from bus.mirror import Mirror
from proto.ids import JobId
from proto.jobs import Job, order_kind
from proto.subjects import JOB_TELEMETRY
from proto.telemetry import JobEvent

TELL_S = 1.0
"""Between two records of a job of which only the counted bytes or the words change."""


MOST_KEPT = 500
"""Jobs that are over. Every scheduler reads all of them now and then, and nobody reads so many."""


class Records:
    """The jobs of the last days."""

    def __init__(self, bus: Bus, jobs: Mirror[Job]) -> None:
        self._bus = bus
        self._jobs = jobs

    def running(self) -> list[Job]:
        """Not over, in the order in which they are to be looked at: people's first, then age."""
        going = (job for job in self._jobs.records.values() if not job.is_over)
        return sorted(going, key=lambda job: (job.by == "demand", job.created_s, job.id))

    def get(self, job: JobId) -> Job | None:
        return self._jobs.records.get(job)

    async def write(self, before: Job | None, after: Job, now_s: float) -> Job:
        """Put ``after`` in the place of ``before``, unless there is no news in it.

        ``now_s``: unix time, to be written down.

        Raises Conflict when somebody else, who then leads, has written it meanwhile,
        and NotConnected.
        """
        if before is not None and not self._is_news(before, after):
            return before
        written = structs.replace(after, updated_s=now_s)

        def fenced(newest: Job | None) -> Job:
            if newest != before:
                raise Conflict(after.id)
            return written

        await self._jobs.change(after.id, fenced)
        await self._bus.publish(JOB_TELEMETRY, _event(written), after.id)
        return written

    def _is_news(self, before: Job, now: Job) -> bool:
        if _shape(before) != _shape(now):
            return True
        return before != now and self._jobs.age_s(before.id) >= TELL_S

    async def mend(self) -> None:
        """Write back what was known of jobs that are spoiled. Raises NotConnected, Conflict."""
        await self._jobs.mend()

    async def forget_oldest(self) -> None:
        """Of those that are over, beyond MOST_KEPT. Raises NotConnected."""
        for job in surplus(self._jobs.records.values()):
            await self._jobs.erase(job.id)


def surplus(jobs: Iterable[Job]) -> list[Job]:
    over = sorted((job for job in jobs if job.is_over), key=lambda job: job.ended_s or 0.0)
    return over[:-MOST_KEPT]


def _shape(job: Job) -> object:
    phases = tuple((part.node, part.phase) for part in job.nodes)
    return job.state, job.wish, job.phase, phases, job.error


def _event(job: Job) -> JobEvent:
    return JobEvent(
        job=job.id,
        kind=order_kind(job.order),
        model=getattr(job.order, "model", ""),
        state=job.state,
        phase=job.phase,
        nodes=job.nodes,
        detail=job.detail,
        at_s=job.updated_s,
    )
