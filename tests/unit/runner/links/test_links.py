"""Agents find one another by what is shared, measure, and tell it; whoever serves is let alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from bus.connection import Bus
from bus.errors import NobodyThere
from bus.state import Bucket
from proto.errors import Code, MeshError
from proto.ids import NodeId, fresh
from proto.link import OpenLink
from proto.store import STORES, Store
from proto.subjects import OPEN_LINK
from services.runner.links.links import Links
from tests.mesh.house import soon

A, B = NodeId("a"), NodeId("b")


@pytest.fixture
async def stores(bus: Bus) -> AsyncIterator[Bucket[Store]]:
    """As both agents write them: what is on their disks."""
    found = await Bucket.open(bus, STORES, Store)
    for node in await found.keys():
        await found.delete(node)
    for node in (A, B):
        await found.put(node, Store(node=node))
    yield found
    for node in await found.keys():
        await found.delete(node)


@asynccontextmanager
async def agent(
    url: str, node: NodeId, is_at_work: Callable[[], bool] = lambda: False
) -> AsyncIterator[Links]:
    async with Bus.connect(url, f"test:{fresh()}") as bus:
        links = Links(bus, node, "127.0.0.1", is_at_work)
        running = asyncio.create_task(links.run())
        yield links
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_two_agents_measure_one_another(nats_url: str, stores: Bucket[Store]) -> None:
    async with agent(nats_url, A) as one, agent(nats_url, B) as other:
        await soon(lambda: one.told() and other.told())
        (there,), (back,) = one.told(), other.told()

    assert (there.peer, back.peer) == (B, A)
    assert there.is_usual
    assert there.address == "127.0.0.1"
    for link in (there, back):
        assert link.round_trip_s is not None
        assert 0 < link.round_trip_s < 0.05
        assert link.bytes_per_s > 10e6


@pytest.mark.parametrize("busy", [A, B])
async def test_no_bytes_disturb_a_node_that_serves_somebody(
    nats_url: str, stores: Bucket[Store], busy: NodeId
) -> None:
    async with (
        agent(nats_url, A, lambda: busy == A) as one,
        agent(nats_url, B, lambda: busy == B),
    ):
        await soon(one.told)
        (link,) = one.told()

    assert link.round_trip_s is not None
    assert link.bytes_per_s == 0


async def test_a_node_that_leaves_is_told_of_no_more(nats_url: str, stores: Bucket[Store]) -> None:
    async with agent(nats_url, A) as one, agent(nats_url, B):
        await soon(one.told)
        await stores.delete(B)
        await soon(lambda: not one.told())


async def test_one_is_measured_by_one_at_a_time(
    bus: Bus, nats_url: str, stores: Bucket[Store]
) -> None:
    await stores.delete(B)
    async with agent(nats_url, A):
        async with AsyncExitStack() as trying:
            await trying.enter_async_context(asyncio.timeout(5))
            while True:
                try:
                    await bus.ask(OPEN_LINK, OpenLink(asker=B), A)
                    break
                except NobodyThere:
                    await asyncio.sleep(0.01)

        with pytest.raises(MeshError) as refused:
            await bus.ask(OPEN_LINK, OpenLink(asker=B), A)
        assert refused.value.code is Code.CONFLICT
