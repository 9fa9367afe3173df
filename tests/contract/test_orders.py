"""What becomes of an order on a real bus: its record, its telemetry, its secret."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from bus.audit import AuditLog
from bus.config import ConfigFollower
from bus.connection import Bus
from bus.errors import Conflict
from bus.fleet import Fleet
from proto.errors import Code, MeshError
from proto.ids import JobId, NodeId
from proto.jobs import Job, Pull, SteerJob, Submit
from proto.plan import NodePlan
from proto.store import Entrust, Entrusted, PullTask
from proto.subjects import ENTRUST, JOB_TELEMETRY, STEER_JOB, SUBMIT
from proto.telemetry import JobEvent
from services.scheduler.changes import add_task
from services.scheduler.known import Known
from services.scheduler.leading.hub_tokens import HubTokens
from services.scheduler.leading.orders import Orders
from services.scheduler.leading.plans import Plans
from services.scheduler.leading.records import TELL_S, Records
from tests.clock import Clock
from tests.conftest import NatsServer

SECRET = "hf_never_to_be_seen"


class Desk:
    """A leader's, without the looking."""

    def __init__(self, bus: Bus, known: Known, clock: Clock) -> None:
        self.bus = bus
        self.clock = clock
        self.known = known
        self.records = Records(bus, known.jobs)
        self.plans = Plans(known.plans, epoch=1)
        self.tokens = HubTokens()
        self.orders = Orders(known, self.records, self.plans, self.tokens)
        self.events: asyncio.Queue[JobEvent] = asyncio.Queue()

    async def submit(self, model: str = "org/m", hub_token: str = "") -> Job:
        asked = Submit(order=Pull(model=model), hub_token=hub_token)
        return (await self.bus.ask(SUBMIT, asked)).job

    async def steer(self, job: str, wish: str) -> Job:
        return (await self.bus.ask(STEER_JOB, SteerJob(job=JobId(job), wish=wish))).job

    async def end(self, job: Job, state: str) -> Job:
        ended = structs.replace(job, state=state, ended_s=job.updated_s)
        return await self.records.write(job, ended, job.updated_s)


@pytest.fixture
async def desk(nats_server: NatsServer) -> AsyncIterator[Desk]:
    async with Bus.connect(nats_server.url, "test:desk") as bus:
        clock = Clock()
        known = await Known.open(bus, Fleet(), ConfigFollower(), clock)
        desk = Desk(bus, known, clock)
        await bus.listen(JOB_TELEMETRY, desk.events.put_nowait)
        async with desk.orders.heard(bus, AuditLog(bus)):
            await bus.settled()
            yield desk


async def test_an_order_is_written_down_before_it_is_answered_and_told(desk: Desk) -> None:
    job = await desk.submit()
    found = await desk.known.jobs.bucket.get(job.id)
    event = await asyncio.wait_for(desk.events.get(), 5)

    assert found
    assert found[0] == job
    assert (event.job, event.kind, event.model, event.state) == (job.id, "pull", "org/m", "running")


async def test_the_same_order_gets_the_job_that_is_under_way(desk: Desk) -> None:
    first = await desk.submit()

    assert (await desk.submit()).id == first.id
    assert (await desk.submit("org/other")).id != first.id
    await desk.end(first, "done")
    assert (await desk.submit()).id != first.id


async def test_a_job_is_steered_by_its_id(desk: Desk) -> None:
    job = await desk.submit()

    assert (await desk.steer(job.id, "pause")).wish == "pause"
    with pytest.raises(MeshError) as refused:
        await desk.steer("unknown", "pause")
    assert refused.value.code is Code.NOT_FOUND


async def test_a_job_that_is_tried_again_has_no_task_of_its_first_try(desk: Desk) -> None:
    job = await desk.submit()
    node = NodeId("a")
    await desk.plans.change(node, add_task(PullTask(job=job.id, model="org/m")))
    await desk.end(job, "failed")
    again = await desk.steer(job.id, "run")

    assert again.state == "running"
    assert desk.plans.known[node] == NodePlan(node=node, epoch=1)


async def test_a_record_that_a_newer_leader_has_written_is_not_overwritten(desk: Desk) -> None:
    job = await desk.submit()
    newer = structs.replace(job, phase="fetching")
    await desk.known.jobs.bucket.put(job.id, newer)

    with pytest.raises(Conflict):
        await desk.records.write(job, structs.replace(job, phase="done"), job.updated_s)
    assert (await desk.known.jobs.bucket.get(job.id) or [None])[0] == newer


async def test_words_and_bytes_alone_are_written_once_a_second(desk: Desk) -> None:
    job = await desk.submit()
    told = structs.replace(job, detail="3 of 8 GB")

    desk.clock.now_s += TELL_S / 2
    early = await desk.records.write(job, told, job.updated_s)
    assert early == job
    desk.clock.now_s += TELL_S / 2
    late = await desk.records.write(job, told, job.updated_s)
    assert late.detail == "3 of 8 GB"


async def test_a_hub_token_goes_to_the_node_and_nowhere_else(desk: Desk) -> None:
    entrusted: list[Entrust] = []

    async def keep(entrust: Entrust) -> Entrusted:
        entrusted.append(entrust)
        return Entrusted()

    said: list[bytes] = []
    await desk.bus.listen_raw("$KV.>", lambda _, body: said.append(body))
    await desk.bus.listen_raw("telemetry.>", lambda _, body: said.append(body))
    await desk.bus.answer(ENTRUST, keep, "a")
    job = await desk.submit(hub_token=SECRET)
    await desk.tokens.hand_over(desk.bus, job.id, [NodeId("a")])
    await desk.tokens.hand_over(desk.bus, job.id, [NodeId("a")])
    await desk.bus.settled()

    assert entrusted == [Entrust(job=job.id, token=SECRET)]
    assert said
    assert not any(SECRET.encode() in body for body in said)


async def test_a_node_that_takes_no_token_does_not_hold_up_the_job(desk: Desk) -> None:
    job = await desk.submit(hub_token=SECRET)

    await desk.tokens.hand_over(desk.bus, job.id, [NodeId("nobody")])
