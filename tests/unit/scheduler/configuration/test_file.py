"""The file beside a scheduler, and what the mesh has of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.config import ConfigFollower, change_layer, open_layers
from bus.connection import Bus
from proto.config import Config, ConfigLayer
from services.scheduler.configuration.file import LOOK_S, ConfigFile
from tests.conftest import NatsServer


@pytest.fixture
async def own_bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with Bus.connect(nats_server.url, "test:config") as bus:
        yield bus


class File:
    def __init__(self, path: Path) -> None:
        self.path = path

    def says(self, text: str) -> None:
        self.path.write_text(text)

    def touched(self) -> None:
        os.utime(self.path, (1, 1))

    def gone(self) -> None:
        self.path.unlink()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "odyssai.yaml")


@asynccontextmanager
async def following(file: File, bus: Bus) -> AsyncIterator[ConfigFollower]:
    follower = ConfigFollower()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(follower.run(bus)),
            tasks.create_task(ConfigFile(file.path).follow(bus)),
        ]
        yield follower
        for task in running:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_saved_is_in_effect_at_once(file: File, own_bus: Bus) -> None:
    file.says("default_model: a\n")
    async with following(file, own_bus) as follower:
        await until(lambda: follower.effective == Config(default_model="a"))

        file.says("default_model: other\n")

        await until(lambda: follower.effective == Config(default_model="other"))
        file.gone()
        await until(lambda: follower.effective == Config())


async def test_what_makes_no_sense_is_told_and_the_last_good_version_stays(
    file: File, own_bus: Bus
) -> None:
    file.says("default_model: a\n")
    async with following(file, own_bus) as follower:
        await until(lambda: follower.effective == Config(default_model="a"))

        file.says("default_model: a\ndefualt: b\n")

        await until(lambda: follower.layers["file"].problem != "")
        assert "odyssai.yaml, line 2: `defualt`" in follower.layers["file"].problem
        assert follower.effective == Config(default_model="a")
        file.says("default_model: b\n")
        await until(lambda: follower.effective == Config(default_model="b"))
        assert follower.layers["file"].problem == ""


async def test_another_schedulers_file_stays_in_effect_until_this_one_is_saved(
    file: File, own_bus: Bus
) -> None:
    theirs = ConfigLayer(config=Config(default_model="theirs"), origin="other:/odyssai.yaml")
    await change_layer(await open_layers(own_bus), "file", lambda _: theirs)
    file.says("default_model: ours\n")
    async with following(file, own_bus) as follower:
        await until(lambda: follower.effective == theirs.config)
        await asyncio.sleep(2 * LOOK_S)
        assert follower.layers["file"] == theirs

        file.touched()

        await until(lambda: follower.effective == Config(default_model="ours"))


async def test_without_a_file_nothing_is_written_until_there_is_one(
    file: File, own_bus: Bus
) -> None:
    async with following(file, own_bus) as follower:
        await asyncio.sleep(2 * LOOK_S)
        file.says("default_model: a\n")
        await until(lambda: follower.effective == Config(default_model="a"))

        found = await (await open_layers(own_bus)).get("file")
        assert found is not None
        assert found[1] == 1
