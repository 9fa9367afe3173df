"""What the scheduler that holds the lease does: look at everything, and move jobs on."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from msgspec import structs

from bus.audit import AuditLog
from bus.errors import BusError
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Job
from services.host import Host
from services.scheduler.changes import remove
from services.scheduler.configuration.flags import CONFIGURED, not_yet_as_configured
from services.scheduler.demand.demand import DEMAND
from services.scheduler.demand.draining import Draining
from services.scheduler.demand.idle import overdue
from services.scheduler.grouping.rescue import REGROUPING, Rescue
from services.scheduler.grouping.unity import united
from services.scheduler.jobs.advance import advance
from services.scheduler.jobs.step import (
    Act,
    Follow,
    Forget,
    RestartTheAgent,
    SetLoadedElsewhere,
    Step,
    failed,
)
from services.scheduler.known import Known
from services.scheduler.leading.acting import restart_agent, revoke, set_loaded
from services.scheduler.leading.hub_tokens import HubTokens
from services.scheduler.leading.leftovers import leftovers, orphans
from services.scheduler.leading.orders import Orders
from services.scheduler.leading.plans import Deposed, Plans
from services.scheduler.leading.records import Records
from services.scheduler.leading.steering import steered

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
        self._rescue = Rescue()
        self._audit = AuditLog(host.bus)
        self._orders = Orders(known, self._records, self._plans, self._tokens)

    async def last(self) -> None:
        """Lead until cancelled, or until a newer leader has written."""
        try:
            await self._begin()
            async with self._orders.heard(self._host.bus, self._audit):
                while True:
                    await self._look()
                    await self._pause()
        except Deposed as error:
            log.warning("this reign is over: %s", error)

    async def _pause(self) -> None:
        """Until there is news, or something may have happened without any."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._orders.news.wait()
        self._orders.news.clear()

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

    async def _look(self) -> None:
        """Jobs in their order: what an earlier one waits for, a later one does not take."""
        promised: Counter[NodeId] = Counter()
        async with self._orders.turn:
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
            log.info("job %s is looked at again: %s", job.id, str(error) or type(error).__name__)
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
        """The record last: it never says what is not so."""
        nodes = [node for node, _ in step.changes]
        await self._tokens.hand_over(self._host.bus, before.id, nodes)
        for act in step.acts:
            if isinstance(act, Follow):
                await self._orders.accept(act.order, act.by)
        for node, change in step.changes:
            await self._plans.change(node, change)
        job = step.job
        for act in step.acts:
            job = _with_detail(job, await self._act(act))
        await self._records.write(before, job, now_s)
        if job.is_over:
            self._tokens.drop(job.id)
        elif job.phase != before.phase:
            self._orders.news.set()

    async def _act(self, act: Act) -> str:
        match act:
            case RestartTheAgent(node):
                await restart_agent(self._host.bus, node)
            case SetLoadedElsewhere():
                await set_loaded(self._host.bus, act)
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
        for node, change in (*united(view), *leftovers(view)):
            await self._plans.change(node, change)
        for order in overdue(view):
            await self._orders.accept(order, "idle")
        for load in self._rescue.look(view):
            await self._orders.accept(load, REGROUPING)
        for load in not_yet_as_configured(view):
            await self._orders.accept(load, CONFIGURED)
        for load in self._known.demand.loads(view):
            await self._orders.accept(load, DEMAND)
        for job in (*self._known.demand.abandoned(view), *orphans(view)):
            await self._records.write(job, steered(job, "cancel"), view.now_s)
        await self._records.forget_oldest()
        await self._plans.mend()
        await self._records.mend()


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Whatever the bus did not carry now is done at the next look."""
    try:
        yield
    except BusError as error:
        log.info("%s: looked at again: %s", what, str(error) or type(error).__name__)


def _with_detail(job: Job, said: str) -> Job:
    return structs.replace(job, detail="; ".join(filter(None, (job.detail, said))))
