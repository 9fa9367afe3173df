"""What the scheduler that holds the lease does: take orders, and move jobs on."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from msgspec import structs

from bus.errors import BusError
from proto.errors import Code, MeshError
from proto.ids import JobId, NodeId, fresh
from proto.jobs import Job, Order, SteerJob, Submit, Submitted
from proto.subjects import STEER_JOB, SUBMIT
from services.host import Host
from services.scheduler.acting import restart_agent, revoke
from services.scheduler.changes import forget_task, remove
from services.scheduler.demand import DEMAND
from services.scheduler.draining import Draining
from services.scheduler.hub_tokens import HubTokens
from services.scheduler.idle import overdue
from services.scheduler.jobs.advance import advance
from services.scheduler.jobs.step import Act, Follow, Forget, RestartTheAgent, Step, failed
from services.scheduler.known import Known
from services.scheduler.leftovers import leftovers, orphans
from services.scheduler.plans import Deposed, Plans
from services.scheduler.records import Records
from services.scheduler.steering import ends_load, steered

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Between two looks at all jobs and plans; a new order is looked at sooner."""


class Reign:
    """One reign: from taking the lease to losing it. All that matters is in shared state."""

    def __init__(self, host: Host, known: Known, epoch: int) -> None:
        self._host = host
        self._known = known
        self._plans = Plans(known.plans, epoch)
        self._records = Records(host.bus, known.jobs)
        self._tokens = HubTokens()
        self._draining = Draining()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        """Whoever changes jobs or plans has it: one decision at a time."""

    async def last(self) -> None:
        """Lead until cancelled, or until a newer leader has written."""
        hearings = []
        try:
            await self._begin()
            hearings += [
                await self._host.bus.answer(SUBMIT, self.submit),
                await self._host.bus.answer(STEER_JOB, self.steer),
            ]
            while True:
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_S)
                self._news.clear()
        except Deposed as error:
            log.warning("this reign is over: %s", error)
        finally:
            for hearing in hearings:
                await hearing.stop()

    async def _begin(self) -> None:
        """Shut older leaders out, and know what they had begun."""
        while True:
            try:
                await self._known.read()
                await self._plans.stamp()
            except BusError as error:
                log.info("not leading yet: %s", error)
                await asyncio.sleep(LOOK_S)
            else:
                return

    async def submit(self, asked: Submit) -> Submitted:
        """It is written down before it is answered: from then on any leader goes on with it."""
        async with self._turn:
            try:
                job = await self._accept(asked.order, asked.by, asked.hub_token)
            except BusError as error:
                raise _away(error) from error
        self._news.set()
        return Submitted(job=job)

    async def _accept(self, order: Order, by: str, hub_token: str = "") -> Job:
        view = self._known.view()
        now_s = view.now_s
        for like in self._records.running():
            if like.order == order and like.wish != "cancel":
                self._tokens.keep(like.id, hub_token)
                return like
        for load in self._records.running():
            if ends_load(order, load, view):
                await self._records.write(load, steered(load, "cancel"), now_s)
        job = Job(id=JobId(fresh()), order=order, by=by, created_s=now_s, updated_s=now_s)
        self._tokens.keep(job.id, hub_token)
        return await self._records.write(None, job, now_s)

    async def steer(self, asked: SteerJob) -> Submitted:
        async with self._turn:
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
        self._news.set()
        return Submitted(job=job)

    async def _forget_tasks(self, job: Job) -> None:
        """What an earlier try left in plans would be taken for the new one's."""
        for node, plan in self._known.view().plans.items():
            if any(wanted.task.job == job.id for wanted in plan.tasks):
                await self._plans.change(node, forget_task(job.id))

    async def _look(self) -> None:
        """Jobs in their order: what an earlier one waits for, a later one does not take."""
        promised: Counter[NodeId] = Counter()
        async with self._turn:
            for job in self._records.running():
                step = await self._move(job, promised)
                promised.update(step.needs if step else {})
            with _going_on("plans"):
                await self._tidy()

    async def _move(self, job: Job, promised: Counter[NodeId]) -> Step | None:
        """None when it came to nothing."""
        view = replace(self._known.view(), promised=promised)
        try:
            step = advance(job, view)
            await self._carry_out(job, step, view.now_s)
        except BusError as error:
            log.info("job %s is looked at again: %s", job.id, error or type(error).__name__)
            return None
        except MeshError as error:
            await self._fail(job, error)
            return None
        except Deposed:
            raise
        except Exception as error:  # One job that nobody foresaw must not end all others.
            log.exception("job %s failed", job.id)
            what = f"{type(error).__name__} in scheduler {self._host.id}; its log has the details"
            await self._fail(job, MeshError(Code.INTERNAL, what))
            return None
        return step

    async def _carry_out(self, before: Job, step: Step, now_s: float) -> None:
        """Plans first: a record never says what is not so."""
        nodes = [node for node, _ in step.changes]
        await self._tokens.hand_over(self._host.bus, before.id, nodes)
        for node, change in step.changes:
            await self._plans.change(node, change)
        job = step.job
        for act in step.acts:
            said = await self._act(act)
            job = _with_detail(job, said)
        await self._records.write(before, job, now_s)
        if job.is_over:
            self._tokens.drop(job.id)
        elif job.phase != before.phase:
            self._news.set()

    async def _act(self, act: Act) -> str:
        match act:
            case RestartTheAgent(node):
                await restart_agent(self._host.bus, node)
            case Follow(order, by):
                await self._accept(order, by)
            case Forget(node):
                said = await revoke(self._host.bus, node)
                await self._plans.forget(node)
                await self._known.stores.delete(node)
                return said
        return ""

    async def _fail(self, job: Job, error: MeshError) -> None:
        now_s = self._known.view().now_s
        with _going_on(f"job {job.id}"):
            await self._records.write(job, failed(job, now_s, error), now_s)

    async def _tidy(self) -> None:
        view = self._known.view()
        for node, engine in self._draining.look(view):
            await self._plans.change(node, remove([engine]))
        for node, change in leftovers(view):
            await self._plans.change(node, change)
        for order in overdue(view):
            await self._accept(order, "idle")
        for load in self._known.demand.loads(view):
            await self._accept(load, DEMAND)
        for job in (*self._known.demand.abandoned(view), *orphans(view)):
            await self._records.write(job, steered(job, "cancel"), view.now_s)
        await self._records.forget_oldest()


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Whatever the bus did not carry now is done at the next look."""
    try:
        yield
    except BusError as error:
        log.info("%s: looked at again: %s", what, error or type(error).__name__)


def _with_detail(job: Job, said: str) -> Job:
    return structs.replace(job, detail="; ".join(filter(None, (job.detail, said))))


def _away(error: Exception) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE,
        f"The scheduler that leads could not write it down ({error}). Ask again.",
        retry_after_s=1.0,
    )
