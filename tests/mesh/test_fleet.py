"""Two schedulers, two agents and a gateway: models come and go by orders, whoever leads."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest

from ops.doctor.findings import findings
from ops.doctor.report import look
from proto.jobs import Drain, Job, Load, Undrain, Unload
from tests.conftest import NatsServer
from tests.mesh.asking import Reader, chat, greedy_text
from tests.mesh.fleet import PATIENCE_S, Fleet, Operator
from tests.tiny import make_tiny

MODELS = ("first", "second", "third")
ONE_MODEL, TWO_MODELS = "500MB", "800MB"
"""A tiny model takes little more than an engine's head-room, some 290 MB."""
SPAN = 1500
"""Tokens whose generation outlasts a load."""
MORE_S = 1.0
"""A gateway gives schedulers less than a second before it chooses by itself."""


class Running:
    def __init__(self, fleet: Fleet, url: str) -> None:
        self.fleet = fleet
        self.url = url


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("fleet")
    server = NatsServer(folder / "nats")
    server.start()
    for seed, name in enumerate(MODELS):
        make_tiny(folder / "shelf" / name, seed, context_length=65536)
    fleet = Fleet(server.url, folder / "homes", folder / "shelf")
    try:
        fleet.scheduler("s1")
        fleet.scheduler("s2")
        fleet.agent("small", ONE_MODEL)
        fleet.agent("large", TWO_MODELS)
        yield Running(fleet, fleet.gateway())
    finally:
        fleet.end()
        server.kill()


@pytest.fixture
async def operator(running: Running) -> AsyncIterator[Operator]:
    """Nothing is loaded when a test begins."""
    async with Operator.at(running.fleet.bus_url) as operator:
        await operator.alive("small", "large")
        for model in MODELS:
            await operator.done(Unload(model=model, is_forced=True))
        yield operator


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{running.url}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


async def test_the_doctor_has_every_node_try_its_way_to_every_other(
    running: Running, operator: Operator
) -> None:
    found = list(findings(await look(operator.bus, tries_ways=True)))
    ways = {each.subject: each.level for each in found if each.check == "reach"}
    assert ways == {"small → large": "OK", "large → small": "OK"}

    running.fleet.freeze("small")
    try:
        found = list(findings(await look(operator.bus, tries_ways=False)))
    finally:
        running.fleet.thaw("small")
    told = {(each.subject, each.check): each.level for each in found}
    assert told["small", "presence"] == "FAIL"
    assert told["large", "bus"] != "FAIL"


async def phase(operator: Operator, job: Job, *wanted: str) -> Job:
    async with asyncio.timeout(PATIENCE_S):
        while job.phase not in wanted:
            assert not job.is_over, job
            job = await operator.job(job)
    return job


async def test_an_unload_lets_answers_finish_and_then_the_memory_is_free(
    client: openai.AsyncOpenAI, operator: Operator
) -> None:
    await operator.done(Load(model="first", nodes=("small",)))
    assert (await operator.done(Load(model="first"))).detail == "already loaded"
    reader = await Reader(client, model="first", max_tokens=SPAN).until_under_way()
    await operator.done(Unload(model="first"))
    node = await operator.node("small")

    assert node
    assert (node.memory.reserved, node.engines) == (0, ())
    assert (await reader.whole()).finish == "length"


async def test_of_two_loads_that_race_for_one_place_exactly_one_has_it(
    operator: Operator,
) -> None:
    orders = [
        Load(model=model, nodes=("small",), makes_room=False) for model in ("first", "second")
    ]
    submitted = await asyncio.gather(*map(operator.submit, orders))
    jobs = await asyncio.gather(*map(operator.ended, submitted))
    (failed,) = [job for job in jobs if job.state == "failed"]
    (done,) = [job for job in jobs if job.state == "done"]

    assert failed.error
    assert failed.error.code == "insufficient_memory"
    assert f"odyssai unload {done.order.model}" in failed.error.message


async def test_a_cancelled_load_leaves_no_engine_and_no_reservation(operator: Operator) -> None:
    job = await operator.submit(Load(model="first", nodes=("small",)))
    await phase(operator, job, "starting", "loading")
    await operator.cancel(job)
    assert (await operator.ended(job)).state == "cancelled"
    node = await operator.node("small")

    assert node
    assert (node.memory.reserved, node.engines) == (0, ())


async def test_a_drained_node_finishes_what_runs_and_its_model_serves_elsewhere(
    client: openai.AsyncOpenAI, operator: Operator
) -> None:
    await operator.done(Load(model="first", nodes=("large",)))
    reader = await Reader(client, model="first", max_tokens=SPAN).until_under_way()
    await operator.done(Drain(node="large"))
    assert (await reader.whole()).finish == "length"
    await greedy_text(client, model="first")
    nodes = {node.node: node for node in (await operator.look()).nodes}

    assert [engine.phase for engine in nodes["small"].engines] == ["ready"]
    assert nodes["large"].state == "draining"
    await operator.done(Undrain(node="large"))


async def test_the_leader_is_killed_while_it_loads_and_no_answer_suffers(
    running: Running, client: openai.AsyncOpenAI, operator: Operator
) -> None:
    """The next one leads in less than three seconds, and goes on with the job."""
    await operator.done(Load(model="first", nodes=("large",)))
    reader = await Reader(client, model="first", max_tokens=SPAN).until_under_way()
    leader = await operator.leader()
    name = running.fleet.name_of(leader.pid)
    job = await operator.submit(Load(model="second", nodes=("small",)))
    running.fleet.kill(name)
    died = time.monotonic()
    other = await operator.submit(Load(model="third", nodes=("large",)))

    assert time.monotonic() - died < 3.0
    assert (await operator.ended(job)).state == "done"
    assert (await operator.ended(other)).state == "done"
    assert (await operator.leader()).epoch > leader.epoch
    assert (await reader.whole()).finish == "length"
    running.fleet.scheduler(name)


class Answer:
    """One of several that run at once: who gave it, and how soon its first token came."""

    engine = ""
    first_s = 0.0

    def __init__(self, at: int) -> None:
        self._asked = chat(model="first", content=f"{at}: what is it?", max_tokens=100, stream=True)

    async def given(self, http: httpx.AsyncClient) -> "Answer":
        began = time.monotonic()
        async with http.stream("POST", "/v1/chat/completions", json=self._asked) as answer:
            assert answer.status_code == 200, await answer.aread()
            self.engine = answer.headers["x-odyssai-engine"]
            lines = [line async for line in answer.aiter_lines() if self._notes(line, began)]
        assert lines[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in lines[-2]
        return self

    def _notes(self, line: str, began: float) -> bool:
        self.first_s = self.first_s or time.monotonic() - began
        return line.startswith("data: ")


async def _eight(http: httpx.AsyncClient) -> list[Answer]:
    return await asyncio.gather(*(Answer(at).given(http) for at in range(8)))


def _slowest_s(answers: list[Answer]) -> float:
    return max(answer.first_s for answer in answers)


async def test_with_no_scheduler_left_all_that_runs_is_finished_and_all_that_comes_is_served(
    running: Running, client: openai.AsyncOpenAI, operator: Operator
) -> None:
    """The gateway chooses from heartbeats, at once, and chooses both replicas."""
    await operator.done(Load(model="first", nodes=("small", "large")))
    asked = {"model": "first", "max_tokens": 2 * SPAN}
    before = [Reader(client, content=f"{at}?", **asked) for at in range(4)]
    for reader in before:
        await reader.until_under_way()
    async with httpx.AsyncClient(base_url=running.url, timeout=40, trust_env=False) as http:
        scheduled_s = _slowest_s(await _eight(http))
        for name in ("s1", "s2"):
            running.fleet.kill(name)
        answers = await _eight(http)
    print(f"the last first token after {scheduled_s:.2f} s, without: {_slowest_s(answers):.2f} s")

    assert not any(reader.is_over for reader in before)
    assert _slowest_s(answers) < scheduled_s + MORE_S
    assert len({answer.engine for answer in answers}) == 2
    assert [(await reader.whole()).finish for reader in before] == ["length"] * len(before)
    for name in ("s1", "s2"):
        running.fleet.scheduler(name)
