"""What is asked of the scheduler that leads: written down before it is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bus.audit import AuditLog
from bus.connection import Bus
from bus.errors import BusError
from proto.errors import Code, MeshError
from proto.ids import JobId, fresh
from proto.jobs import (
    Drain,
    Job,
    Order,
    RemoveNode,
    Restart,
    SteerJob,
    Submit,
    Submitted,
    Undrain,
    order_kind,
)
from proto.subjects import STEER_JOB, SUBMIT
from services.scheduler.changes import forget_task
from services.scheduler.known import Known
from services.scheduler.leading.hub_tokens import HubTokens
from services.scheduler.leading.plans import Deposed, Plans
from services.scheduler.leading.records import Records
from services.scheduler.leading.steering import ends_load, steered

OF_NODES = (Drain, Undrain, Restart, RemoveNode)


class Orders:
    """Makes jobs of orders, and steers them. From its record on, any leader goes on with a job."""

    def __init__(self, known: Known, records: Records, plans: Plans, tokens: HubTokens) -> None:
        self.turn = asyncio.Lock()
        """Whoever changes jobs or plans has it: one decision at a time."""
        self.news = asyncio.Event()
        """Set when there is something to look at."""
        self._known = known
        self._records = records
        self._plans = plans
        self._tokens = tokens

    @asynccontextmanager
    async def heard(self, bus: Bus, audit: AuditLog) -> AsyncIterator[None]:
        """For as long as the block lasts. Whoever gives an order is written down with it."""

        async def submit(asked: Submit) -> Submitted:
            order, act = asked.order, f"order.{order_kind(asked.order)}"
            target = order.node if isinstance(order, OF_NODES) else order.model
            async with audit.act(act, asked.actor, target, _details(order)):
                return await self.submit(asked)

        async def steer(asked: SteerJob) -> Submitted:
            async with audit.act(f"job.{asked.wish}", asked.actor, asked.job):
                return await self.steer(asked)

        hearings = [await bus.answer(SUBMIT, submit), await bus.answer(STEER_JOB, steer)]
        try:
            yield
        finally:
            for hearing in hearings:
                await hearing.stop()

    async def submit(self, asked: Submit) -> Submitted:
        async with self.turn:
            try:
                job = await self.accept(asked.order, asked.by, asked.hub_token)
            except BusError as error:
                raise _away(error) from error
        self.news.set()
        return Submitted(job=job)

    async def accept(self, order: Order, by: str, hub_token: str = "") -> Job:
        """The job of an order: the one under way, if it is the same. For whoever has the turn.

        Raises NotConnected and Conflict.
        """
        view = self._known.view()
        running = self._records.running()
        like = next((j for j in running if j.order == order and j.wish != "cancel"), None)
        if like is not None:
            self._tokens.keep(like.id, hub_token)
            return like
        for load in running:
            if ends_load(order, load, view):
                await self._records.write(load, steered(load, "cancel"), view.now_s)
        now_s = view.now_s
        job = Job(id=JobId(fresh()), order=order, by=by, created_s=now_s, updated_s=now_s)
        self._tokens.keep(job.id, hub_token)
        return await self._records.write(None, job, now_s)

    async def steer(self, asked: SteerJob) -> Submitted:
        async with self.turn:
            before = self._records.get(asked.job)
            if before is None:
                raise MeshError(Code.NOT_FOUND, f"There is no job {asked.job!r}.", param="job")
            after = steered(before, asked.wish)
            try:
                if before.is_over and not after.is_over:
                    await self._forget_tasks(before)
                job = await self._records.write(before, after, self._known.view().now_s)
            except (BusError, Deposed) as error:
                raise _away(error) from error
        self.news.set()
        return Submitted(job=job)

    async def _forget_tasks(self, job: Job) -> None:
        """What an earlier try left in plans would be taken for the new one's."""
        for node, plan in self._known.view().plans.items():
            if any(wanted.task.job == job.id for wanted in plan.tasks):
                await self._plans.change(node, forget_task(job.id))


def _details(order: Order) -> str:
    """All that it says; the hub's token is no part of it."""
    return msgspec.json.encode(order).decode()


def _away(error: Exception) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE,
        f"The scheduler that leads could not write it down ({error}). Ask again.",
        retry_after_s=1.0,
    )
