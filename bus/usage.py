"""Usage on its way into the books: a stream that gateways report into, and the books themselves.

Reports wait in the stream until they are in every book that they belong to, however long nobody
writes any; no report is dropped for others.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RawStreamMsg, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bus.connection import Bus, uncaught
from bus.errors import NotConnected
from bus.patience import patiently
from bus.provision import Limits
from bus.state import Bucket
from proto.subjects import USAGE_REPORT
from proto.usage import (
    KEPT_S,
    MOST_BYTES,
    MOST_WAITING_BYTES,
    USAGE,
    USED,
    Book,
    Head,
    UsageReport,
)

BOOKS = Limits(ttl_s=KEPT_S, max_bytes=MOST_BYTES)
MADE_S = 20.0
MADE_LOOK_S = 0.05
NO_MESSAGE = 10037
"""The server's code where a stream has nothing, for its not being there it has another."""


async def open_books(bus: Bus) -> Bucket[Book | Head]:
    """Raises NotConnected."""
    either: Any = Book | Head
    return await Bucket.open(bus, USAGE, either, BOOKS, is_packed=True)


async def read_books(bus: Bus, days: Iterable[str]) -> dict[str, Book]:
    """Those that there are of these days. Raises NotConnected."""
    books = await open_books(bus)
    wanted = list(days)
    found = await asyncio.gather(*map(books.get, wanted))
    return {
        day: it[0] for day, it in zip(wanted, found, strict=True) if it and isinstance(it[0], Book)
    }


class Reports(NamedTuple):
    """The stream, as it is now."""

    made: str
    """When: another one counts anew."""
    last: int
    """The place of its latest report."""


async def open_reports(bus: Bus) -> Reports:
    """Once the stream is there: made by who may do that, on three servers where the bus has them.

    Raises NotConnected.
    """
    made = await patiently(bus, lambda: _found(bus))
    if made is not None:
        return made
    if bus.makes_buckets:
        await patiently(bus, lambda: _make(bus))
    for _ in range(int(MADE_S / MADE_LOOK_S)):
        made = await patiently(bus, lambda: _found(bus))
        if made is not None:
            return made
        await asyncio.sleep(MADE_LOOK_S)
    raise NotConnected("there is no stream for usage; does `odyssai up` run where the bus is?")


async def _found(bus: Bus) -> Reports | None:
    try:
        told = await bus.jetstream.stream_info(USED)
    except NotFoundError:
        return None
    made = "" if told.created is None else told.created.isoformat()
    return Reports(made, told.state.last_seq)


async def _make(bus: Bus) -> None:
    config = StreamConfig(
        name=USED,
        subjects=[USAGE_REPORT.pattern],
        max_bytes=MOST_WAITING_BYTES,
        discard=DiscardPolicy.NEW,
        num_replicas=3,
    )
    try:
        await uncaught(bus.jetstream.add_stream(config))
    except APIError:
        await uncaught(bus.jetstream.add_stream(config.evolve(num_replicas=1)))


async def report(bus: Bus, said: UsageReport) -> int:
    """Its place in the stream, which keeps it from now on. Raises NotConnected when that is not
    known: it may be kept all the same.
    """
    address, body = USAGE_REPORT.at(said.gateway), USAGE_REPORT.encode(said)
    try:
        kept = await uncaught(bus.jetstream.publish(address, body, stream=USED))
    except (NatsError, OSError) as error:
        raise NotConnected(str(error) or type(error).__name__) from error
    return kept.seq


async def next_report(bus: Bus, after: int) -> tuple[int, UsageReport | None] | None:
    """The first that is kept behind that place, with its own; None: there is none. What cannot be
    read, or says that it is from somebody else, is told as none and counted.

    Raises NotConnected.
    """
    found = await patiently(bus, lambda: _next(bus, after))
    if found is None:
        return None
    return found.seq or 0, _opened(bus, found)


async def _next(bus: Bus, after: int) -> RawStreamMsg | None:
    try:
        return await bus.jetstream.get_msg(USED, seq=after + 1, subject=">", next=True)
    except NotFoundError as error:
        if error.err_code == NO_MESSAGE:
            return None
        raise


def _opened(bus: Bus, found: RawStreamMsg) -> UsageReport | None:
    address = found.subject or ""
    try:
        said = USAGE_REPORT.decode(found.data or b"")
    except msgspec.DecodeError as error:
        bus.unread.message(address, error)
        return None
    if not USAGE_REPORT.is_proven(address, said):
        bus.unread.message(address, "it says that it is another's")
        return None
    return said


async def drop_reports(bus: Bus, upto: int) -> None:
    """Those up to that place are in the books. Raises NotConnected."""
    await patiently(bus, lambda: bus.jetstream.purge_stream(USED, seq=upto + 1))
