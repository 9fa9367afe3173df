"""Records that cannot be read are told and ignored, and never written over unawares."""

import asyncio

import pytest

from bus import buckets
from bus.connection import Bus
from bus.errors import Foreign
from bus.large import LargeBucket
from bus.mirror import Mirror
from bus.provision import Limits
from bus.state import Bucket
from ops import command
from proto.ids import fresh
from proto.plan import PLANS, NodePlan
from proto.state import EngineRecord
from tests.conftest import NatsServer

GARBAGE = b"\x00\xff{{{"
NEWER = b'{"engine": ["of", "another", "age"]}'


def record(pid: int) -> EngineRecord:
    return EngineRecord(engine="e", node="n", pid=pid, started_s=1.0, source="m")


async def spoil(bus: Bus, name: str, key: str, value: bytes) -> None:
    kv = await bus.jetstream.key_value(name)
    await kv.put(key, value)


@pytest.fixture
async def bucket(bus: Bus) -> Bucket[EngineRecord]:
    return await Bucket.open(bus, fresh(), EngineRecord)


@pytest.mark.parametrize("value", [GARBAGE, NEWER, b""])
async def test_it_is_as_if_it_were_absent_and_is_told_until_it_is_gone(
    bus: Bus, bucket: Bucket[EngineRecord], value: bytes
) -> None:
    name = bucket._kv._name
    await bucket.put("well", record(1))
    await spoil(bus, name, "bad", value)

    assert await bucket.get("bad") is None
    assert await bucket.all() == {"well": record(1)}
    assert bus.unread.told().records == (f"{name}/bad",)
    await bucket.delete("bad")
    assert await bucket.all() == {"well": record(1)}
    assert bus.unread.told().records == ()


async def test_what_is_no_record_is_replaced_by_who_writes_next(
    bus: Bus, bucket: Bucket[EngineRecord]
) -> None:
    await spoil(bus, bucket._kv._name, "e", GARBAGE)
    assert await bucket.get("e") is None

    await bucket.swap("e", record(1), 0)

    assert (await bucket.get("e") or [None])[0] == record(1)
    assert bus.unread.told().records == ()


async def test_what_may_be_a_newer_versions_is_not_written_over(
    bus: Bus, bucket: Bucket[EngineRecord]
) -> None:
    await spoil(bus, bucket._kv._name, "e", NEWER)
    assert await bucket.get("e") is None

    with pytest.raises(Foreign, match="another version"):
        await bucket.swap("e", record(1), 0)


async def test_who_watches_keeps_to_what_it_knew_and_writes_that_back(
    bus: Bus, bucket: Bucket[EngineRecord]
) -> None:
    await bucket.put("e", record(1))
    mirror = Mirror(bucket)
    following = asyncio.create_task(mirror.run())
    async with asyncio.timeout(10):
        while not mirror.records:
            await mirror.changed.wait()
        await spoil(bus, bucket._kv._name, "e", GARBAGE)
        while not bucket.is_spoiled("e"):
            await asyncio.sleep(0.01)

    assert mirror.records == {"e": record(1)}
    await mirror.mend()
    assert (await bucket.get("e") or [None])[0] == record(1)
    following.cancel()


async def test_a_large_record_of_nonsense_is_none(bus: Bus) -> None:
    large = await LargeBucket.open(bus, fresh(), EngineRecord, Limits(60.0, 1 << 20))
    await large.swap("e", record(1), 0)
    head, revision = await large._blocks.get("e") or pytest.fail("it was written")
    await large._blocks.swap("e", type(head)(b"no zlib"), revision)

    assert await large.get("e") is None


async def test_a_person_sees_all_that_is_spoiled_and_removes_it(
    nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def odyssai(*arguments: str) -> tuple[int, str]:
        status = command.main(["state", *arguments, "--nats", nats_server.url])
        return status, "".join(capsys.readouterr())

    async with Bus.connect(nats_server.url, "test:spoiled") as bus:
        await Bucket.open(bus, PLANS, NodePlan)
        await spoil(bus, PLANS, "studio", GARBAGE)
        assert list(await buckets.unreadable(bus)) == ["plans/studio"]
        status, said = await asyncio.to_thread(odyssai)
        assert (status, "plans/studio" in said) == (1, True)
        assert (await asyncio.to_thread(odyssai, "--drop", "plans/nobody"))[0] == 1
        assert (await asyncio.to_thread(odyssai, "--drop", "plans/studio"))[0] == 0
        status, said = await asyncio.to_thread(odyssai)
    assert (status, said) == (0, "Every record of the mesh's state can be read.\n")
