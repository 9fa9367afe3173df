"""What a bus server says when its disk is full is what the supervisor listens for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.connection import Bus
from bus.errors import NotConnected
from bus.state import Bucket
from ops.store_room import SIGNS
from proto.ids import fresh
from proto.state import EngineRecord
from tests.conftest import NatsServer
from tests.small_disk import small_disk

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 2 * MIB) as disk:
        yield disk


async def fill(bucket: Bucket[EngineRecord], record: EngineRecord) -> None:
    for number in range(4):
        await bucket.put(str(number), record)


async def test_a_write_that_the_disk_has_no_room_for_is_told(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.patience.AWAY_S", 0.0)
    monkeypatch.setattr("bus.connection.STATE_S", 0.5)
    log = tmp_path / "log"
    server = NatsServer(disk, log)
    server.start()
    try:
        async with Bus.connect(server.url, "test:full") as bus:
            bucket = await Bucket.open(bus, fresh(), EngineRecord)
            record = EngineRecord(engine="e", node="n", pid=1, started_s=1.0, source="x" * MIB)
            with pytest.raises(NotConnected):
                await fill(bucket, record)
            async with asyncio.timeout(5):
                while not any(sign in log.read_text() for sign in SIGNS):
                    await asyncio.sleep(0.01)
    finally:
        server.kill()
