"""What every bucket of shared state keeps."""

import asyncio

import pytest

from bus.connection import Bus
from bus.errors import Conflict
from bus.state import Bucket
from proto.ids import fresh
from proto.state import EngineRecord
from tests.conftest import NatsServer


def record(pid: int) -> EngineRecord:
    return EngineRecord(engine="e", node="n", pid=pid, started_s=1.0, source="m")


async def test_what_was_put_is_read_back(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    revision = await bucket.put("e", record(1))

    assert await bucket.get("e") == (record(1), revision)
    assert await bucket.all() == {"e": record(1)}


async def test_an_absent_record_is_none(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    await bucket.put("e", record(1))
    await bucket.delete("e")

    assert await bucket.get("e") is None
    assert await bucket.get("other") is None
    assert await bucket.all() == {}


async def test_of_two_writers_one_wins(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    first = await bucket.swap("e", record(1), 0)

    with pytest.raises(Conflict):
        await bucket.swap("e", record(2), 0)
    await bucket.swap("e", record(3), first)
    with pytest.raises(Conflict):
        await bucket.swap("e", record(4), first)
    assert (await bucket.get("e") or [None])[0] == record(3)


async def test_a_watcher_is_told_what_is_there_and_every_change(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    await bucket.put("e", record(1))
    told: asyncio.Queue[tuple[str, EngineRecord | None]] = asyncio.Queue()
    watch = asyncio.create_task(bucket.watch(lambda k, r: told.put_nowait((k, r))))

    async with asyncio.timeout(5):
        assert await told.get() == ("e", record(1))
        await bucket.put("e", record(2))
        assert await told.get() == ("e", record(2))
        await bucket.delete("e")
        assert await told.get() == ("e", None)
    watch.cancel()


async def test_a_watcher_survives_a_restart_of_the_server(nats_server: NatsServer) -> None:
    async with Bus.connect(nats_server.url, "test:w") as bus:
        bucket = await Bucket.open(bus, "b", EngineRecord)
        back = asyncio.Event()
        bus.on_reconnect.append(back.set)
        told: asyncio.Queue[tuple[str, EngineRecord | None]] = asyncio.Queue()
        watch = asyncio.create_task(bucket.watch(lambda k, r: told.put_nowait((k, r))))
        await bucket.put("e", record(1))
        async with asyncio.timeout(10):
            await told.get()
            nats_server.kill()
            nats_server.start()
            await back.wait()
            await bucket.put("e", record(2))

            assert await told.get() == ("e", record(2))
        watch.cancel()


async def test_an_unreadable_record_is_skipped(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    await bucket._kv.put("bad", b"{not json")
    await bucket.put("good", record(1))

    assert await bucket.all() == {"good": record(1)}


async def test_an_erased_record_leaves_no_mark(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    await bucket.put("e", record(1))
    await bucket.put("f", record(2))
    await bucket.erase("e")

    assert await bucket.all() == {"f": record(2)}
    assert (await bucket._kv.status()).values == 1
    await bucket.swap("e", record(3), 0)
    assert await bucket.get("e")


async def test_a_record_is_deleted_only_at_the_revision_that_is_named(bus: Bus) -> None:
    bucket = await Bucket.open(bus, fresh(), EngineRecord)
    older = await bucket.put("e", record(1))
    newer = await bucket.put("e", record(2))

    with pytest.raises(Conflict):
        await bucket.delete("e", older)
    await bucket.delete("e", newer)
    assert await bucket.get("e") is None


async def test_reading_all_leaves_no_consumer_behind(bus: Bus) -> None:
    name = f"read-{fresh()}"
    bucket = await Bucket.open(bus, name, EngineRecord)
    await bucket.put("e", record(1))

    assert await bucket.all() == {"e": record(1)}
    assert (await bus.jetstream.stream_info(f"KV_{name}")).state.consumer_count == 0
