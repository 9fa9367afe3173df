"""What a mirror of a bucket promises."""

import asyncio

import pytest

from bus.connection import Bus
from bus.errors import Conflict
from bus.mirror import TRIES, Mirror
from bus.state import Bucket
from proto.ids import fresh
from proto.state import EngineRecord


def record(pid: int) -> EngineRecord:
    return EngineRecord(engine="e", node="n", pid=pid, started_s=1.0, source="m")


async def test_it_knows_what_others_write_and_delete(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    await bucket.put("old", record(1))
    mirror = Mirror(bucket)
    following = asyncio.create_task(mirror.run())

    async def until(expected: dict[str, EngineRecord]) -> None:
        async with asyncio.timeout(5):
            while mirror.records != expected:
                mirror.changed.clear()
                await mirror.changed.wait()

    await until({"old": record(1)})
    await bucket.put("new", record(2))
    await until({"old": record(1), "new": record(2)})
    await bucket.delete("old")
    await until({"new": record(2)})
    following.cancel()


async def test_what_it_wrote_itself_is_known_before_it_is_heard(bus: Bus) -> None:
    mirror = Mirror(await Bucket.open(bus, fresh(), EngineRecord))
    await mirror.change("e", lambda _: record(1))
    await mirror.change("e", lambda before: record((before or record(0)).pid + 1))

    assert mirror.records == {"e": record(2)}


async def test_news_that_is_older_than_what_it_wrote_is_ignored(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    older = await bucket.put("e", record(1))
    mirror = Mirror(bucket)
    await mirror.change("e", lambda _: record(2))
    mirror._hear("e", record(1), older)

    assert mirror.records == {"e": record(2)}


async def test_a_change_is_made_of_what_somebody_else_wrote_meanwhile(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    mirror = Mirror(bucket)
    await mirror.change("e", lambda _: record(1))
    await bucket.put("e", record(10))

    assert await mirror.change("e", lambda b: record(b.pid + 1 if b else 0)) == record(11)


async def test_a_change_that_changes_nothing_is_not_written(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    revision = await bucket.put("e", record(1))
    await Mirror(bucket).change("e", lambda _: record(1))

    assert (await bucket.get("e") or (None, 0))[1] == revision


async def test_a_record_that_never_stands_still_is_a_conflict(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    mirror = Mirror(bucket)
    tries = 0

    async def beaten(key: str, record: EngineRecord, revision: int) -> int:
        nonlocal tries
        tries += 1
        raise Conflict(key)

    monkeypatch.setattr(bucket, "swap", beaten)
    with pytest.raises(Conflict):
        await mirror.change("e", lambda _: record(1))
    assert tries == TRIES
