"""What is in effect follows the layers in shared state."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from bus.config import ConfigFollower, change_layer, open_layers
from bus.connection import Bus
from proto.config import Config, ConfigLayer
from tests.conftest import NatsServer


@pytest.fixture
async def own_bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with Bus.connect(nats_server.url, "test:config") as bus:
        yield bus


async def test_what_is_in_effect_follows_both_layers(own_bus: Bus) -> None:
    told: asyncio.Queue[Config] = asyncio.Queue()
    follower = ConfigFollower(told.put_nowait)
    layers = await open_layers(own_bus)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follower.run(own_bus))
        file = ConfigLayer(config=Config(default_model="f", aliases={"a": "m"}))
        await change_layer(layers, "file", lambda _: file)
        async with asyncio.timeout(5):
            assert await told.get() == file.config
        await change_layer(
            layers, "admin", lambda old: replace(old, config=Config(default_model="x"))
        )
        async with asyncio.timeout(5):
            assert await told.get() == Config(default_model="x", aliases={"a": "m"})
        assert follower.layers["file"] == file
        await layers.delete("admin")
        async with asyncio.timeout(5):
            assert await told.get() == file.config
        following.cancel()


async def test_two_who_change_a_layer_at_once_both_count(own_bus: Bus) -> None:
    layers = await open_layers(own_bus)

    def naming(name: str) -> ConfigLayer:
        def change(old: ConfigLayer) -> ConfigLayer:
            aliases = {**(old.config.aliases or {}), name: "m"}
            return replace(old, config=replace(old.config, aliases=aliases))

        return change

    await asyncio.gather(*(change_layer(layers, "admin", naming(name)) for name in "abc"))

    found = await layers.get("admin")
    assert found is not None
    assert set(found[0].config.aliases or ()) == {"a", "b", "c"}
