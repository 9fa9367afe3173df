"""The bus breaks and the world lies, all at once, and no request and no token is lost of it.

Three bus servers; a node and a gateway whose links go dead for ten seconds, while the
server that leads is killed; clocks that are wrong by an hour and jump; garbage in shared state.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import nats.errors
import openai
import pytest
from nats.js.kv import KeyValue

from bus.buckets import KINDS
from bus.connection import Bus
from bus.provision import opened
from proto.credentials import InvitedRole
from proto.subjects import SERVICE_BEAT
from tests.faults.cluster import Cluster
from tests.faults.link import Link
from tests.faults.load import Load
from tests.mesh.asking import Reader, chat
from tests.mesh.fleet import Fleet
from tests.mesh.house import ROOT
from tests.tiny import make_tiny

CUT_S = 10.0
SPAN = 2000
"""Tokens of an answer that is under way when the links go dead, and mostly still to come."""
HOUR_S = 3600
START_S = 90.0
"""Far more than it takes: the cores may be shared with other tests."""
GARBAGE = b"\x00not a record"
MENDED_BY_PEOPLE = ("config", "keys")
"""Without these a gateway lets nobody in."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "bus")
    try:
        yield cluster.start().ready().keep()
    finally:
        cluster.end()


class Clock:
    """The wall clock of processes that are started with it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, wrong_by_s: float) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(str(wrong_by_s))
        draft.replace(self._file)

    @property
    def told(self) -> dict[str, str]:
        paths = [str(ROOT / "tests/faults/shifted"), os.environ.get("PYTHONPATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "SHIFTED_BY": str(self._file),
        }


@dataclass
class World:
    cluster: Cluster
    fleet: Fleet
    link: Link
    """Of node ``far`` and gateway ``g2``."""
    clock: Clock
    """Of ``near`` and the scheduler."""
    g1: str
    g2: str


async def spoil(url: str) -> None:
    async with Bus.connect(url, "test:vandal") as bus:
        for name in KINDS.keys() - set(MENDED_BY_PEOPLE):
            kv = await opened(bus, name, None)
            for key in ("near", "near.tiny", "scheduler", "nobody"):
                await put(kv, key)


async def put(kv: KeyValue, key: str) -> None:
    """A stream that was just made has nobody to lead it for a moment."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                await kv.put(key, GARBAGE)
            except nats.errors.Error:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    await spoil(cluster.access.url("console"))
    tiny = make_tiny(tmp_path / "models" / "tiny")
    solo = make_tiny(tmp_path / "models" / "solo")
    fleet = Fleet("", tmp_path / "fleet", tmp_path / "shelf")
    ahead, behind = Clock(tmp_path / "ahead"), Clock(tmp_path / "behind")
    ahead.set(HOUR_S)
    behind.set(-HOUR_S)
    async with Link.to(cluster.servers) as link:

        async def way(role: InvitedRole, name: str, ports: Iterable[int] = ()) -> dict[str, str]:
            return {"ODYSSAI_NATS": await cluster.url(role, name, ports)}

        # Everybody is let in before anybody starts: each newcomer has all servers read anew.
        far = {"ODYSSAI_MODELS": f"{tiny},{solo}"} | await way("runner", "far", link.ports)
        near = {"ODYSSAI_MODELS": str(tiny)} | await way("runner", "near")
        scheduling, direct = await way("scheduler", "s1"), await way("gateway", "g1")
        by_link = await way("gateway", "g2", link.ports)
        try:
            fleet.scheduler("s1", **ahead.told, **scheduling)
            fleet.agent("near", "8GB", **ahead.told, **near)
            fleet.agent("far", "8GB", **behind.told, **far)
            g1 = fleet.gateway("g1", **direct)
            g2 = fleet.gateway("g2", **behind.told, **by_link)
            world = World(cluster, fleet, link, ahead, g1, g2)
            for url in (world.g1, world.g2):
                await both_serve(url, fleet)
            yield world
        finally:
            link.come_back()
            fleet.cut_power()


async def both_serve(url: str, fleet: Fleet) -> None:
    """Asked in a thread: the link is this loop's, and must not stand still meanwhile."""
    ends_at = time.monotonic() + START_S
    while await asyncio.to_thread(engines, url) != (2, 1):
        assert time.monotonic() < ends_at, fleet.logs()
        await asyncio.sleep(0.1)


def engines(url: str) -> tuple[int, int]:
    """That serve ``tiny``, and ``solo``."""
    return _engines(url, "tiny"), _engines(url, "solo")


def _engines(url: str, model: str) -> int:
    try:
        told = httpx.get(f"{url}/v1/models/{model}", timeout=5, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return 0
    return len(told.get("x_odyssai", {}).get("engines", ()))


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=90)


@pytest.mark.timeout(300)
async def test_a_bus_that_breaks_and_a_world_that_lies_cost_no_request_and_no_token(
    world: World,
) -> None:
    async with (
        client_of(world.g1) as near,
        client_of(world.g2) as far,
        Bus.connect(world.cluster.access.url("health"), "test:operator") as bus,
    ):
        told: set[str] = set()
        await bus.listen(SERVICE_BEAT, lambda beat: told.update(beat.unreadable.records))
        expected = await whole(near)
        load = Load(world.g1)
        async with load.running():
            readers = [Reader(near, max_tokens=SPAN) for _ in range(4)]
            readers += [Reader(near, max_tokens=SPAN, model="solo") for _ in range(2)]
            readers += [Reader(far, max_tokens=SPAN) for _ in range(4)]
            await asyncio.gather(*(reader.until_under_way() for reader in readers))
            assert not [reader for reader in readers if reader.is_over]
            world.link.go_dead()
            dead = asyncio.create_task(asyncio.sleep(CUT_S))
            world.clock.set(-HOUR_S)
            leader = world.cluster.leader()
            assert leader is not None
            world.cluster.kill(leader)
            await dead
            world.link.come_back()
            world.cluster.start(leader)
            streamed = [await reader.whole(within_s=90) for reader in readers]
            await both_serve(world.g2, world.fleet)

    assert [it.finish for it in streamed] == ["length"] * len(readers)
    assert [it.text == expected for it in streamed] == [True] * len(readers)
    assert load.failed == []
    assert load.served > 20
    assert {"jobs/nobody", "plans/nobody", "stores/nobody"} <= told
    assert "Traceback" not in world.fleet.logs(), world.fleet.logs()


async def whole(client: openai.AsyncOpenAI) -> str:
    answer = await client.chat.completions.create(**chat(max_tokens=SPAN))
    return answer.choices[0].message.content or ""
