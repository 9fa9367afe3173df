"""Keys in shared state, as gateways follow them."""

import asyncio

from bus.config import ConfigFollower
from bus.connection import Bus
from bus.keys import KeyFollower, create_key, open_keys, revoke_key
from proto.config import KeyConfig
from services.gateway.keys.ring import KeyRing
from tests.conftest import NatsServer


async def test_keys_are_followed_from_where_they_were_read(nats_server: NatsServer) -> None:
    async with Bus.connect(nats_server.url, "test:keys") as bus:
        changed = asyncio.Event()
        follower = KeyFollower(changed.set)
        await create_key(bus, "first", KeyConfig(), "test")
        await follower.read(bus)
        assert set(follower.records) == {"first"}
        # Revoked between reading and following: that is not missed.
        await revoke_key(bus, "first", "test")
        following = asyncio.create_task(follower.run(bus))
        try:
            await _until(changed, lambda: not follower.records)
            await create_key(bus, "second", KeyConfig(), "test")
            await _until(changed, lambda: set(follower.records) == {"second"})
        finally:
            following.cancel()


async def test_a_key_that_cannot_be_read_is_a_key_all_the_same(nats_server: NatsServer) -> None:
    async with Bus.connect(nats_server.url, "test:keys") as bus:
        await (await open_keys(bus))._kv.put("spoiled", b"\xff not a key")
        config = ConfigFollower()
        ring = KeyRing(lambda: config.effective, lambda _: None)
        await ring.made.read(bus)

    assert ring.made.records == {}
    assert ring.has_keys


async def _until(changed: asyncio.Event, condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(10):
        while not condition():
            changed.clear()
            if not condition():
                await changed.wait()
