"""A model that several nodes share by an operator's order, and what becomes of it afterwards."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openai
import pytest
from safetensors.numpy import load_file, save_file

from ops import command
from proto.group import RankBeat
from proto.ids import EngineId, NodeId
from proto.jobs import Drain, Load, Undrain, Unload
from proto.overview import ModelView
from proto.subjects import RANK_BEAT
from tests.conftest import NatsServer
from tests.mesh.asking import Reader, greedy_text
from tests.mesh.fleet import LOOK_S, PATIENCE_S, Fleet, Operator
from tests.tiny import Shape, make_tiny

pytestmark = pytest.mark.timeout(150)  # Ranks start several times, on cores that may be shared.

NODES = ("a", "b", "c")
PART = "298MB"
"""An engine takes 268 MB of head-room, and the large model 32 MB: half of it is what fits."""
LARGE = Shape("qwen2", layers=5, feed_forward=8192)
SMALL = Shape("qwen2", layers=5)
SPAN = 80
"""Tokens whose generation outlasts the loss of a node."""


@dataclass
class Running:
    fleet: Fleet
    url: str
    operator: Operator
    ranks: dict[EngineId, RankBeat] = field(default_factory=dict)
    """By the latest word."""

    async def model(self, name: str) -> ModelView:
        return next(m for m in (await self.operator.look()).models if m.model == name)

    async def places(self, name: str) -> list[tuple[NodeId, int | None]]:
        engines = (await self.model(name)).engines
        return [(engine.node, engine.rank) for engine in engines]

    async def until_at(self, name: str, *places: tuple[str, int | None]) -> None:
        """Until it is served by these nodes and ranks, and no others hold any of it."""
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                while True:
                    engines = (await self.model(name)).engines
                    found = [(engine.node, engine.rank) for engine in engines]
                    if found == list(places) and all(e.phase == "ready" for e in engines):
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            pytest.fail(f"{(await self.operator.look()).jobs}\n{self.fleet.logs()}")


def _break(folder: Path) -> None:
    """Its files are whole, and what they say is no model."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], np.nan)
    save_file(weights, file, metadata={"format": "mlx"})


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    folder = tmp_path_factory.mktemp("shared")
    server = NatsServer(folder / "nats")
    server.start()
    make_tiny(folder / "shelf" / "large", context_length=4096, shape=LARGE)
    make_tiny(folder / "shelf" / "tiny", context_length=4096, shape=SMALL)
    _break(make_tiny(folder / "shelf" / "broken", context_length=4096, shape=SMALL))
    fleet = Fleet(server.url, folder / "homes", folder / "shelf")
    try:
        fleet.scheduler("s1")
        for node in NODES:
            fleet.agent(node, PART, ODYSSAI_CRASH_LIMIT="2")
        yield fleet, fleet.gateway()
    finally:
        fleet.end()
        server.kill()


@pytest.fixture
async def running(fleet: tuple[Fleet, str]) -> AsyncIterator[Running]:
    """Nothing is loaded when a test begins."""
    async with Operator.at(fleet[0].bus_url) as operator:
        await operator.alive(*NODES)
        for name in ("large", "tiny"):
            await operator.done(Unload(model=name, is_forced=True))
        running = Running(*fleet, operator)
        await operator.bus.listen(RANK_BEAT, lambda b: running.ranks.update({b.engine: b}))
        yield running


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{running.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


async def odyssai(running: Running, *arguments: str) -> int:
    given = [*arguments, "--nats", running.fleet.bus_url]
    return await asyncio.to_thread(command.main, given)


async def test_two_ranks_say_what_one_engine_says_and_leave_together(
    running: Running, client: openai.AsyncOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    await running.operator.done(Load(model="tiny", nodes=(NodeId("c"),)))
    alone = await greedy_text(client)
    await running.operator.done(Unload(model="tiny"))

    assert await odyssai(running, "load", "tiny", "--split", "tensor", "--nodes", "b,a") == 0
    assert await running.places("tiny") == [("a", 1), ("b", 0)]
    assert await greedy_text(client) == alone
    assert await odyssai(running, "models") == 0
    assert "b + a (tensor)" in capsys.readouterr().out
    assert await odyssai(running, "unload", "tiny", "--node", "a") == 0
    assert await running.places("tiny") == []


async def test_what_fits_on_no_node_is_shared_as_it_was_planned(
    running: Running, client: openai.AsyncOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await odyssai(running, "plan", "large") == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert " × 2 (ring)" in first
    assert "this one" in first

    job = await running.operator.done(Load(model="large"))
    places = await running.places("large")
    by_rank = {rank: node for node, rank in places}
    assert (len(places), set(by_rank)) == (2, {0, 1})
    # Links are measured meanwhile: which nodes are the nearest, and so who begins, is not given.
    assert job.detail.startswith(f"loaded on {by_rank[0]}, {by_rank[1]} together")
    assert len(await greedy_text(client, model="large")) > 10


async def test_a_start_that_fails_leaves_nothing_and_says_why(running: Running) -> None:
    order = Load(model="broken", way="tensor", nodes=("a", "b"), ranks=2)
    job = await running.operator.ended(await running.operator.submit(order))

    assert job.state == "failed"
    assert job.error
    assert job.error.code == "model_quarantined"
    assert "model.norm.weight" in job.detail
    await running.until_at("broken")
    nodes = (await running.operator.look()).nodes
    held = [(n.node, e.phase) for n in nodes for e in n.engines if e.phase != "quarantined"]
    assert held == []
    assert {n.memory.reserved for n in nodes} == {0}


async def test_a_drained_node_leaves_its_group_which_is_formed_anew(
    running: Running, client: openai.AsyncOpenAI
) -> None:
    await running.operator.done(Load(model="large", nodes=("a", "b"), ranks=2))
    text = await greedy_text(client, model="large")
    try:
        await running.operator.done(Drain(node=NodeId("b")))
        await running.until_at("large", ("a", 0), ("c", 1))
        assert await greedy_text(client, model="large") == text
    finally:
        await running.operator.done(Undrain(node=NodeId("b")))


async def test_a_stream_goes_on_when_a_node_is_lost_and_its_group_is_formed_anew(
    running: Running, client: openai.AsyncOpenAI
) -> None:
    await running.operator.done(Load(model="large", nodes=("a", "b"), ranks=2))
    whole = await greedy_text(client, model="large", max_tokens=SPAN)
    reader = await Reader(client, model="large", max_tokens=SPAN).until_under_way()
    rank = next(beat for beat in running.ranks.values() if beat.engine.startswith("b."))
    running.fleet.kill("b")
    os.kill(rank.pid, signal.SIGKILL)

    await running.until_at("large", ("a", 0), ("c", 1))
    assert (await reader.whole()).text == whole
