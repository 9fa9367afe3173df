"""Makes up the books: one of the mesh does, by lease, and whoever comes after it goes on.

A day's book, an account and the head are written one after the other, and each says how far it is:
wherever it was cut off, what is in already is left out the next time. The head comes last.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from bus import usage
from bus.connection import Bus
from bus.errors import BusError, Conflict
from bus.keys import open_spending
from bus.lease import Lease, lead
from bus.mirror import Mirror
from proto.keys import Spending, spent_by
from proto.subjects import USAGE_REPORT
from proto.usage import HEAD, LEASE_OF_BOOKS, Book, Entry, Head, UsageReport, entered
from services.health.bookkeeping.sorting import Place, head_after, sort, stream_after
from services.host import Host

log = logging.getLogger(__name__)

MOST = 512
"""Reports of one round."""
PACE_S = 0.1
"""Between two rounds: what comes meanwhile is written down together."""
LOOK_S = 5.0
"""A report is heard as it is kept; one that was not heard is found so much later."""
AGAIN_S = 0.5


class Bookkeeper:
    """One reign. All that matters is in shared state."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._news = asyncio.Event()

    async def last(self) -> None:
        """For ever."""
        while True:
            try:
                async with self._bus.listening(USAGE_REPORT, self._hear):
                    while True:
                        await self._keep()
            except BusError as error:
                log.warning("books: begun anew after %s", str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    def _hear(self, report: UsageReport) -> None:
        self._news.set()

    async def _keep(self) -> None:
        """For some time, then what is there is read anew. Raises BusError."""
        books = await Books.begin(self._bus)
        end = time.monotonic() + LOOK_S
        while (left_s := end - time.monotonic()) > 0:
            self._news.clear()
            if await books.enter():
                await asyncio.sleep(PACE_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._news.wait()


class Books:
    """The books at hand, and the place up to which all of them are made."""

    def __init__(
        self, bus: Bus, stream: str, books: Mirror[Book | Head], accounts: Mirror[Spending]
    ) -> None:
        self.head = Head()
        self._bus = bus
        self._stream = stream
        self._books = books
        self._accounts = accounts

    @classmethod
    async def begin(cls, bus: Bus) -> "Books":
        """Raises BusError."""
        books, accounts = await usage.open_books(bus), await open_spending(bus)
        found = await books.get(HEAD)
        head = found[0] if found and isinstance(found[0], Head) else Head()
        reports = await usage.open_reports(bus)  # After the head, which another one may move.
        stream = stream_after(head.counted, reports.made, reports.last)
        made = cls(bus, stream, Mirror(books), Mirror(accounts))
        made.head = made._current(head)
        return made

    def _current(self, head: Head) -> Head:
        """Where the stream was made anew, it is at its beginning; which reports were there is
        known all the same.
        """
        return head if head.counted.stream == self._stream else Head(boots=head.boots)

    async def enter(self) -> bool:
        """What there is now, or as much as one round takes. False: there was nothing.

        Raises BusError.
        """
        reports = await self._reports()
        if not reports:
            return False
        if reports[-1][0] - self.head.counted.sequence != len(reports):
            await self._expect_last()
        made = sort(self.head, reports)
        for day, entries in made.days.items():
            await self._books.change(day, self._in_book(entries, made.upto))
        for account, entries in made.accounts.items():
            await self._accounts.change(account, self._in_account(entries, made.upto))
        self.head = await self._move(head_after(made, self._stream))
        await usage.drop_reports(self._bus, self.head.counted.sequence)
        return True

    async def _reports(self) -> list[Place]:
        found: list[Place] = []
        after = self.head.counted.sequence
        while len(found) < MOST and (place := await usage.next_report(self._bus, after)):
            found.append(place)
            after = place[0]
        return found

    async def _expect_last(self) -> None:
        """Some are gone: whoever has taken them out knows better what was kept before.

        Raises Conflict, unless nobody has moved the head.
        """
        found = await self._books.bucket.get(HEAD)
        if found and isinstance(found[0], Head):
            self._expect_here(found[0])

    def _expect_here(self, head: Head) -> None:
        if self._current(head).counted.sequence != self.head.counted.sequence:
            raise Conflict("another one makes up the books")

    def _in_book(
        self, entries: list[Entry], upto: int
    ) -> Callable[[Book | Head | None], Book | Head]:
        def changed(known: Book | Head | None) -> Book:
            book = known if isinstance(known, Book) else Book()
            return entered(book, self._stream, entries, upto)

        return changed

    def _in_account(self, entries: list[Entry], upto: int) -> Callable[[Spending | None], Spending]:
        return lambda known: spent_by(known or Spending(), self._stream, entries, upto)

    async def _move(self, head: Head) -> Head:
        """Raises Conflict where somebody else has gone on from here."""

        def changed(known: Book | Head | None) -> Head:
            if isinstance(known, Head):
                self._expect_here(known)
            return head

        await self._books.change(HEAD, changed)
        return head


async def keep_books(host: Host) -> None:
    """For ever, whenever nobody else does."""
    while True:
        try:
            lease = await Lease.open(host.bus, LEASE_OF_BOOKS, host.id, host.boot)
        except BusError as error:
            log.warning("no books yet: %s", error)
            await asyncio.sleep(AGAIN_S)
        else:
            await lead(lease, lambda _: Bookkeeper(host.bus).last())
