"""What a scheduler knows of the mesh: heartbeats, wishes and state, followed all the time."""

import asyncio
import math
import time
from collections.abc import Callable

from bus.config import ConfigFollower
from bus.connection import Bus
from bus.fleet import Fleet
from bus.mirror import Mirror
from bus.provision import Limits
from bus.state import Bucket
from proto.group import RANK_BUSY_S, RankBeat
from proto.ids import EngineId
from proto.jobs import JOBS, KEPT_S, Job
from proto.placement import Want
from proto.plan import PLANS, NodePlan
from proto.presence import EngineBeat
from proto.store import STORES, Store
from proto.subjects import ENGINE_BEAT, RANK_BEAT, WANT
from services.scheduler.demand.demand import Demand
from services.scheduler.view import View

JOB_LIMITS = Limits(ttl_s=KEPT_S, max_bytes=64 << 20)


class Known:
    """Every scheduler's own; none of it is lost with one.

    ``unix`` stamps what people read, ``now`` is the clock by which is reckoned.
    """

    def __init__(
        self,
        fleet: Fleet,
        config: ConfigFollower,
        plans: Mirror[NodePlan],
        stores: Mirror[Store],
        jobs: Mirror[Job],
        now: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.plans = plans
        self.stores = stores
        self.jobs = jobs
        self._fleet = fleet
        self._config = config
        self._now = now
        self._unix = unix
        self._read_at: float | None = None
        self.demand = Demand(now())
        self._ranks: dict[EngineId, tuple[float, RankBeat]] = {}
        self._ready: dict[EngineId, tuple[str, float]] = {}

    @classmethod
    async def open(
        cls,
        bus: Bus,
        fleet: Fleet,
        config: ConfigFollower,
        now: Callable[[], float] = time.monotonic,
    ) -> "Known":
        """Raises NotConnected."""
        known = cls(
            fleet,
            config,
            Mirror(await Bucket.open(bus, PLANS, NodePlan)),
            Mirror(await Bucket.open(bus, STORES, Store)),
            Mirror(await Bucket.open(bus, JOBS, Job, JOB_LIMITS), now),
            now,
        )
        await bus.listen(ENGINE_BEAT, known.hear_engine)
        await bus.listen(RANK_BEAT, known.hear_rank)
        await bus.listen(WANT, known.hear_want)
        return known

    async def follow(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            for mirror in (self.plans, self.stores, self.jobs):
                tasks.create_task(mirror.run())

    async def read(self) -> None:
        """All that is shared, as of now. Raises NotConnected."""
        await self.plans.read()
        await self.stores.read()
        await self.jobs.read()
        if self._read_at is None:
            self._read_at = self._now()

    def hear_engine(self, beat: EngineBeat) -> None:
        boot, _ = self._ready.get(beat.engine, ("", 0.0))
        if beat.state == "ready" and beat.boot != boot:
            self._ready[beat.engine] = (beat.boot, self._now())

    def hear_rank(self, beat: RankBeat) -> None:
        self._ranks[beat.engine] = (self._now(), beat)

    def hear_want(self, want: Want) -> None:
        self.demand.hear(want, self._now())

    def view(self) -> View:
        engines = {beat.engine: beat for beat in self._fleet.engines()}
        self._ready = {engine: heard for engine, heard in self._ready.items() if engine in engines}
        now = self._now()
        self._ranks = {
            engine: (at, beat)
            for engine, (at, beat) in self._ranks.items()
            if now - at <= RANK_BUSY_S
        }
        return View(
            now_s=self._stamp(),
            clock_s=now,
            ranks={engine: beat for engine, (_, beat) in self._ranks.items()},
            nodes={beat.node: beat for beat in self._fleet.nodes()},
            engines=engines,
            plans={plan.node: plan for plan in self.plans.records.values()},
            stores={store.node: store for store in self.stores.records.values()},
            config=self._config.effective,
            ready_since={engine: since_s for engine, (_, since_s) in self._ready.items()},
            jobs={job.id: job for job in self.jobs.records.values()},
            written_at={
                job.id: self._written_at(job, self.jobs.heard_at[key])
                for key, job in self.jobs.records.items()
            },
        )

    def _stamp(self) -> float:
        """Not before any that was written, so that records are in order whoever wrote them, and
        however wrong the clocks are by which that was done.
        """
        newest = max((job.updated_s for job in self.jobs.records.values()), default=0.0)
        return max(self._unix(), newest)

    def _written_at(self, job: Job, heard_at: float) -> float:
        """What was over before this scheduler began is over for longer than anybody waits."""
        was_found = self._read_at is None or heard_at <= self._read_at
        return -math.inf if job.is_over and was_found else heard_at
