"""An agent stands still: what it started goes on, and when it is back nothing has happened."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import openai
import psutil
import pytest

from proto.jobs import Load, Pull, Unload
from tests.conftest import NatsServer
from tests.hub import Faults, Hub
from tests.mesh.asking import Reader, greedy_text
from tests.mesh.fleet import PATIENCE_S, Fleet, Operator
from tests.mesh.house import soon
from tests.tiny import make_tiny

NODE = "studio"
MODEL = "held"
PULLED = "org/Fetched"
ENDLESS = 60_000
"""Tokens whose generation outlasts the test."""


class Running:
    def __init__(self, fleet: Fleet, url: str, hub: Hub) -> None:
        self.fleet = fleet
        self.url = url
        self.hub = hub

    def children(self, module: str) -> list[psutil.Process]:
        """Processes of the agent that run this module."""
        agent = psutil.Process(self.fleet.pid_of(NODE))
        return [child for child in agent.children() if module in child.cmdline()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("agents")
    make_tiny(folder / "shelf" / MODEL, context_length=65536)
    server = NatsServer(folder / "nats")
    server.start()
    fleet = Fleet(server.url, folder / "homes", folder / "shelf")
    with Hub.open() as hub:
        hub.add(PULLED, make_tiny(folder / "published", seed=1))
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0"}
        try:
            fleet.scheduler("s1")
            fleet.agent(NODE, "2GB", **told)
            yield Running(fleet, fleet.gateway(), hub)
        finally:
            fleet.end()
            server.kill()


@pytest.fixture
async def operator(running: Running) -> AsyncIterator[Operator]:
    """Nothing is loaded when a test begins."""
    async with Operator.at(running.fleet.bus_url) as operator:
        await operator.alive(NODE)
        await operator.done(Unload(model=MODEL, is_forced=True))
        yield operator


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{running.url}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


@asynccontextmanager
async def standing_still(running: Running, operator: Operator) -> AsyncIterator[None]:
    """Until everybody has noticed; inside, its node is silent."""
    running.fleet.freeze(NODE)
    try:
        await _state(operator, "silent")
        yield
    finally:
        running.fleet.thaw(NODE)
    await _state(operator, "alive")


async def _state(operator: Operator, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (node := await operator.node(NODE)) is None or node.state != wanted:
            continue


@pytest.mark.timeout(120)
async def test_its_engine_serves_on_and_stays(
    running: Running, client: openai.AsyncOpenAI, operator: Operator
) -> None:
    await operator.done(Load(model=MODEL, nodes=(NODE,)))
    before = running.children("services.runner.engine")
    undisturbed = await greedy_text(client, model=MODEL)
    reader = await Reader(client, model=MODEL, max_tokens=ENDLESS).until_under_way()

    async with standing_still(running, operator):
        seen = reader.read.events
        assert await greedy_text(client, model=MODEL) == undisturbed
        await soon(lambda: reader.read.events > seen + 20, PATIENCE_S, "the stream goes on")
    seen = reader.read.events
    await soon(lambda: reader.read.events > seen + 20, PATIENCE_S, "the stream goes on")
    assert not reader.is_over
    await reader.leave()

    assert reader.read.text.startswith(undisturbed)
    assert (await operator.done(Load(model=MODEL))).detail == "already loaded"
    assert running.children("services.runner.engine") == before
    assert len(before) == 1


@pytest.mark.timeout(120)
async def test_a_load_that_it_began_is_done_by_the_engine_that_it_began(
    running: Running, client: openai.AsyncOpenAI, operator: Operator
) -> None:
    job = await operator.submit(Load(model=MODEL, nodes=(NODE,)))
    begun = await soon(lambda: running.children("services.runner.engine"), PATIENCE_S)

    async with standing_still(running, operator):
        assert not (await operator.job(job)).is_over

    assert (await operator.ended(job)).state == "done"
    assert await greedy_text(client, model=MODEL)
    assert running.children("services.runner.engine") == begun
    assert len(begun) == 1


@pytest.mark.timeout(120)
async def test_a_pull_that_it_began_is_done_and_asks_for_nothing_twice(
    running: Running, operator: Operator
) -> None:
    running.hub.faults = Faults(bytes_per_s=100_000)
    job = await operator.submit(Pull(model=PULLED, nodes=(NODE,)))
    await soon(lambda: weights_asked(running.hub), PATIENCE_S)

    async with standing_still(running, operator):
        assert not (await operator.job(job)).is_over

    running.hub.faults = Faults()
    assert (await operator.ended(job)).state == "done"
    assert weights_asked(running.hub) == [None]


def weights_asked(hub: Hub) -> list[str | None]:
    """Each range of the weights that somebody asked for."""
    found = [asked for asked in list(hub.asked) if asked.path.startswith("/large")]
    return [asked.range for asked in found if asked.method == "GET"]
