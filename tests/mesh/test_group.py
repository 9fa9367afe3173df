"""One model over two and three agents: a group of ranks is one engine, which lives as one."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import psutil
import pytest

from bus.connection import Bus
from bus.state import Bucket
from proto.group import Group, Member, RankBeat, Split
from proto.ids import EngineId, ModelId, NodeId, engine_id
from proto.memory import Grant
from proto.plan import PLANS, NodePlan, Placement
from proto.presence import EngineBeat, EngineStatus, NodeBeat
from proto.subjects import ENGINE_BEAT, NODE_BEAT, RANK_BEAT
from tests.conftest import NatsServer
from tests.mesh.asking import Reader, greedy_text
from tests.mesh.fleet import LOOK_S, PATIENCE_S, Fleet
from tests.tiny import Shape, make_tiny

GRANT = Grant(
    weights_bytes=1 << 20, kv_bytes=64 << 20, headroom_bytes=1 << 20, context=8192, kv_tokens=32768
)
SHAPE = Shape("qwen2", layers=5)


@dataclass
class Ranks:
    """Who says what of a group, by the latest word."""

    bus: Bus
    plans: Bucket[NodePlan]
    shelf: Path
    logs: Callable[[], str]
    ranks: dict[EngineId, RankBeat] = field(default_factory=dict)
    engines: dict[EngineId, EngineBeat] = field(default_factory=dict)
    nodes: dict[NodeId, NodeBeat] = field(default_factory=dict)

    async def follow(self) -> "Ranks":
        await self.bus.listen(RANK_BEAT, lambda beat: self.ranks.update({beat.engine: beat}))
        await self.bus.listen(ENGINE_BEAT, lambda beat: self.engines.update({beat.engine: beat}))
        await self.bus.listen(NODE_BEAT, lambda beat: self.nodes.update({beat.node: beat}))
        return self

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            pytest.fail(f"{[n.engines for n in self.nodes.values()]}\n{self.logs()}")

    async def plan(self, group: Group | None, *nodes: str, beside: str = "") -> None:
        """The nodes run the tiny model, each as its member of the group; and one ``beside``."""
        for node in map(NodeId, nodes):
            placed = [self._placement(node, "tiny", group)]
            if beside:
                placed.append(self._placement(node, beside))
                beside = ""
            await self.plans.put(node, NodePlan(node=node, placements=tuple(placed)))

    def _placement(self, node: NodeId, model: str, group: Group | None = None) -> Placement:
        return Placement(
            engine=engine_id(node, ModelId(model)),
            model=ModelId(model),
            source=str(self.shelf / model),
            grant=GRANT,
            origin="operator",
            group=group,
        )

    async def serve(self, group: Group, beside: str = "") -> RankBeat:
        """Its leader's word once it does, and whatever is beside it."""
        await self.plan(group, *(member.node for member in group.members), beside=beside)
        leader = await self.serving(group)
        serves = lambda: {c.id for e in self.engines.values() for c in e.models}  # noqa: E731
        await self.until(lambda: serves() >= {"tiny", *filter(None, [beside])})
        return leader

    def statuses(self) -> list[EngineStatus]:
        return [status for beat in self.nodes.values() for status in beat.engines]

    async def serving(self, group: Group, after: tuple[str, ...] = ()) -> RankBeat:
        """The leader's word once all ranks are ready, none of them in a life of ``after``."""

        def are_ready() -> bool:
            said = [self.ranks.get(member.engine) for member in group.members]
            leader = self.engines.get(group.leader)
            return (
                all(beat and beat.phase == "ready" and beat.boot not in after for beat in said)
                and leader is not None
                and leader.state == "ready"
                and leader.boot not in after
            )

        await self.until(are_ready)
        return self.ranks[group.leader]


def group_of(split: Split, *nodes: str, layers: tuple[int, ...] = ()) -> Group:
    members = tuple(
        Member(engine=engine_id(NodeId(node), ModelId("tiny")), layers=count)
        for node, count in zip(nodes, layers or (0,) * len(nodes), strict=True)
    )
    return Group(split=split, members=members)


TWO = group_of("tensor", "a", "b")
THREE = group_of("pipeline", "c", "a", "b", layers=(1, 2, 2))
RESTING_S = 1.5
SPAN = 400
"""Tokens whose generation outlasts the loss of a rank."""


@dataclass
class Running:
    fleet: Fleet
    url: str
    shelf: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("group")
    server = NatsServer(folder / "nats")
    server.start()
    make_tiny(folder / "shelf" / "tiny", context_length=8192, shape=SHAPE)
    make_tiny(folder / "shelf" / "solo", seed=1, context_length=8192)
    fleet = Fleet(server.url, folder / "homes", folder / "shelf")
    try:
        for node in ("a", "b", "c"):
            fleet.agent(node, "2GB", ODYSSAI_CRASH_LIMIT="2")
        yield Running(fleet, fleet.gateway(), folder / "shelf")
    finally:
        fleet.end()
        server.kill()


@asynccontextmanager
async def ranks_of(running: Running) -> AsyncIterator[Ranks]:
    """Nothing is placed when it begins."""
    async with Bus.connect(running.fleet.bus_url, "test:ranks") as bus:
        plans = await Bucket.open(bus, PLANS, NodePlan)
        ranks = await Ranks(bus, plans, running.shelf, running.fleet.logs).follow()
        for node in map(NodeId, ("a", "b", "c")):
            await ranks.plans.put(node, NodePlan(node=node))
        await ranks.until(
            lambda: len(ranks.nodes) == 3 and not any(n.engines for n in ranks.nodes.values())
        )
        ranks.ranks.clear()
        ranks.engines.clear()
        yield ranks


@pytest.fixture
async def ranks(running: Running) -> AsyncIterator[Ranks]:
    async with ranks_of(running) as ranks:
        yield ranks


@asynccontextmanager
async def client_of(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{running.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(running) as client:
        yield client


ASKED = [f"Say {n} words of tides." for n in range(8)]


async def answers(client: openai.AsyncOpenAI) -> list[str]:
    return list(await asyncio.gather(*(greedy_text(client, content=text) for text in ASKED)))


@pytest.fixture(scope="module")
def alone(running: Running) -> list[str]:
    """What one engine says that has the whole model."""

    async def ask() -> list[str]:
        async with ranks_of(running) as ranks, client_of(running) as client:
            await ranks.plan(None, "c")
            await ranks.until(lambda: any(e.state == "ready" for e in ranks.engines.values()))
            return await answers(client)

    said = asyncio.run(ask())
    assert len(set(said)) > 4
    return said


@pytest.mark.parametrize("group", [TWO, THREE], ids=["tensor", "pipeline"])
async def test_ranks_say_what_one_engine_says(
    group: Group, alone: list[str], ranks: Ranks, client: openai.AsyncOpenAI
) -> None:
    await ranks.serve(group)
    assert await answers(client) == alone
    before = ranks.ranks[group.leader].awake
    # Ranks that have nothing to do leave the cores alone, and are woken by the next request.
    await ranks.until(lambda: ranks.engines[group.leader].idle_s > RESTING_S)
    assert await answers(client) == alone
    await ranks.until(lambda: ranks.ranks[group.leader].awake > before)


@pytest.mark.parametrize(("rank", "sign"), [(1, signal.SIGKILL), (0, signal.SIGSTOP)])
async def test_a_stream_goes_on_when_a_rank_is_lost(
    rank: int, sign: signal.Signals, ranks: Ranks, client: openai.AsyncOpenAI
) -> None:
    """Another life of the group takes it up, token for token."""
    first = await ranks.serve(TWO)
    whole = await greedy_text(client, max_tokens=SPAN)
    reader = await Reader(client, max_tokens=SPAN).until_under_way()
    lost = ranks.ranks[TWO.members[rank].engine]
    other = ranks.ranks[TWO.members[1 - rank].engine]
    os.kill(lost.pid, sign)
    lost_at = time.monotonic()
    await asyncio.to_thread(psutil.Process(other.pid).wait, 3.0)
    assert time.monotonic() - lost_at < 3.0
    again = await ranks.serving(TWO, after=(first.boot, lost.boot, other.boot))
    assert again.formation
    assert first.formation
    assert again.formation.epoch != first.formation.epoch
    assert (await reader.whole()).text == whole
    assert all(status.crashes <= 1 for status in ranks.statuses())


async def test_a_group_that_cannot_start_says_why(ranks: Ranks) -> None:
    """Three ranks cannot share its four heads."""
    await ranks.plan(group_of("tensor", "a", "b", "c"), "a", "b", "c")
    given_up = lambda: [s for s in ranks.statuses() if s.phase == "quarantined"]  # noqa: E731
    await ranks.until(lambda: bool(given_up()))
    assert "cannot be split over 3 ranks: it has 4 attention heads" in given_up()[0].detail
    assert not any(beat.phase == "ready" for beat in ranks.ranks.values())


async def test_the_engines_beside_a_lost_group_go_on(
    ranks: Ranks, client: openai.AsyncOpenAI
) -> None:
    await ranks.serve(TWO, beside="solo")
    reader = await Reader(client, model="solo", max_tokens=SPAN).until_under_way()
    before = {e.engine: e.boot for e in ranks.engines.values()}
    os.kill(ranks.ranks[TWO.members[1].engine].pid, signal.SIGKILL)
    await ranks.serving(TWO, after=tuple(b.boot for b in ranks.ranks.values()))
    solo = next(e for e in ranks.engines.values() if any(c.id == "solo" for c in e.models))
    assert solo.boot == before[solo.engine]
    assert (await reader.whole()).finish == "length"
