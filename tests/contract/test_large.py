"""What a bucket of large records keeps, and for how long."""

import asyncio
import os

import pytest

from bus.connection import Bus
from bus.errors import Conflict
from bus.large import PIECE, Block, LargeBucket
from bus.provision import Limits
from bus.state import Bucket
from proto.ids import fresh
from proto.message import Message

LIMITS = Limits(ttl_s=3600, max_bytes=64 << 20)


class Text(Message, frozen=True, kw_only=True):
    text: str


def text(pieces: int, start: str = "") -> Text:
    """One that needs more than so many pieces, since nothing can pack it."""
    return Text(text=start + os.urandom(pieces * PIECE).hex())


@pytest.fixture
def name() -> str:
    return fresh()


@pytest.fixture
async def bucket(bus: Bus, name: str) -> LargeBucket[Text]:
    return await LargeBucket.open(bus, name, Text, LIMITS)


@pytest.mark.parametrize("pieces", [0, 3])
async def test_what_was_written_is_read_back(bucket: LargeBucket[Text], pieces: int) -> None:
    record = text(pieces)
    revision = await bucket.swap("k", record, 0)

    assert await bucket.get("k") == (record, revision)


async def test_of_two_writers_one_wins_and_the_other_leaves_nothing(
    bus: Bus, bucket: LargeBucket[Text], name: str
) -> None:
    first = await bucket.swap("k", text(1), 0)
    with pytest.raises(Conflict):
        await bucket.swap("k", text(2), 0)
    winner = text(2)
    await bucket.swap("k", winner, first)
    with pytest.raises(Conflict):
        await bucket.swap("k", text(3), first)

    found = await bucket.get("k")
    assert found is not None
    assert found[0] == winner
    blocks = await (await Bucket.open(bus, name, Block, is_packed=True)).all()
    assert len(blocks) == 1 + blocks["k"].pieces


async def test_what_is_deleted_leaves_nothing(
    bus: Bus, bucket: LargeBucket[Text], name: str
) -> None:
    await bucket.swap("k", text(2), 0)
    await bucket.delete("k")

    assert await bucket.get("k") is None
    assert await (await Bucket.open(bus, name, Block, is_packed=True)).all() == {}


async def test_a_record_whose_pieces_are_gone_is_gone(
    bus: Bus, bucket: LargeBucket[Text], name: str
) -> None:
    await bucket.swap("k", text(2), 0)
    blocks = await Bucket.open(bus, name, Block, is_packed=True)
    version = (await blocks.all())["k"].version
    await blocks.delete(f"k.{version}.1")

    assert await bucket.get("k") is None


async def test_a_bucket_gets_the_limits_that_it_is_opened_with(bus: Bus, name: str) -> None:
    for ttl_s in (3600.0, 60.0):
        await LargeBucket.open(bus, name, Text, Limits(ttl_s=ttl_s, max_bytes=1 << 20))
        config = (await bus.jetstream.stream_info(f"KV_{name}")).config

        assert (config.max_age, config.max_bytes) == (ttl_s, 1 << 20)


async def test_the_oldest_go_where_there_is_no_room(bus: Bus, name: str) -> None:
    limits = Limits(ttl_s=3600, max_bytes=2 * PIECE)
    bucket = await LargeBucket.open(bus, name, Text, limits)
    for key in ("old", "newer", "newest"):
        await bucket.swap(key, text(1), 0)

    assert await bucket.get("old") is None
    assert await bucket.get("newest") is not None


async def test_a_record_expires(bus: Bus, name: str) -> None:
    bucket = await LargeBucket.open(bus, name, Text, Limits(ttl_s=0.2, max_bytes=1 << 20))
    await bucket.swap("k", text(0), 0)

    async with asyncio.timeout(5):
        while await bucket.get("k") is not None:
            await asyncio.sleep(0.05)


async def test_a_log_is_followed_from_its_first_entry_on(bus: Bus, name: str) -> None:
    log = await Bucket.open(bus, name, Text)
    await log.put("a.0", Text(text="0"))
    await log.put("b.0", Text(text="other"))
    told = log.follow("a", silence_s=0.1)

    assert await anext(told) == Text(text="0")
    await log.put("a.1", Text(text="1"))
    assert await anext(told) == Text(text="1")
    assert await anext(told) is None
    assert await anext(told) == Text(text="0")
    await told.aclose()
