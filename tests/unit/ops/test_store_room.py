"""A bus server that could not write is started anew as soon as its disk has room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops import store_room
from ops.store_room import ROOM_BYTES, StoreRoom

SHUT = "[7] [ERR] Filestore [KV_leases] Critical write error: write 1.blk: no space left on device"


class Disk:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for wait in ("LOOK_S", "PAUSE_S"):
            monkeypatch.setattr(store_room, wait, 0.01)
        self.free = 0
        self.told: list[str] = []
        self.restarts = 0
        self.restarted = asyncio.Event()
        self.room = StoreRoom(folder, self.told.append, lambda _: self.free)

    def restart(self) -> None:
        self.restarts += 1
        self.restarted.set()


@pytest.fixture
async def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    disk = Disk(tmp_path, monkeypatch)
    keeping = asyncio.create_task(disk.room.keep(disk.restart))
    yield disk
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_the_server_is_started_anew_once_there_is_room(disk: Disk) -> None:
    disk.room.hear(SHUT)
    disk.room.hear(SHUT)
    async with asyncio.timeout(5):
        while not disk.told:
            await asyncio.sleep(0.01)
        assert "make room" in disk.told[0]
        assert disk.restarts == 0
        disk.free = ROOM_BYTES
        await disk.restarted.wait()
    assert (disk.restarts, len(disk.told)) == (1, 1)


async def test_what_else_a_server_says_changes_nothing(disk: Disk) -> None:
    disk.free = ROOM_BYTES
    disk.room.hear("[7] [INF] Server is ready")
    await asyncio.sleep(0.05)

    assert disk.restarts == 0
