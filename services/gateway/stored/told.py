"""The events of background responses: written down as they come, read from wherever they are."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bus.errors import NotConnected
from bus.state import Bucket
from proto.dialects.asked import WAITING
from proto.dialects.responses.stored import ToldEvents

log = logging.getLogger(__name__)

PAUSE_S = 0.05
"""Between two pieces: what comes meanwhile makes one."""
AWAY_S = 0.5
LAST_S = 5.0
"""A state that is away for so long at the end misses the end; the record tells it, too."""
SILENCE_S = 1.0
"""After so long without a piece a reader looks whether there will be any."""


class Scribe:
    """Writes events down. Where the stream of a request would go, it goes here."""

    def __init__(self, bucket: Bucket[ToldEvents], response: str) -> None:
        self._bucket = bucket
        self._response = response
        self._unwritten: list[bytes] = []
        self._written = 0
        self._pieces = 0
        self._is_over = False
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def write(self, body: bytes, more: bool = True) -> None:
        """Comments in it are for those who wait at a connection."""
        self._unwritten += [e for e in body.split(b"\n\n") if e and not e.startswith(b":")]
        self._news.set()

    async def close(self) -> None:
        """Everything is told. Returns when it is written, or cannot be."""
        self._is_over = True
        self._news.set()
        try:
            async with asyncio.timeout(LAST_S):
                await self._task
        except TimeoutError:
            log.warning("the end of %s is not told: the state is away", self._response)

    async def _run(self) -> None:
        is_last = False
        while not is_last:
            await self._news.wait()
            self._news.clear()
            is_last = self._is_over
            try:
                await self._put(is_last)
                await asyncio.sleep(0 if is_last else PAUSE_S)
            except NotConnected:
                is_last = False
                self._news.set()
                await asyncio.sleep(AWAY_S)

    async def _put(self, is_last: bool) -> None:
        events = tuple(self._unwritten)
        piece = ToldEvents(first=self._written, events=events, is_last=is_last)
        await self._bucket.put(f"{self._response}.{self._pieces}", piece)
        self._pieces += 1
        self._written += len(events)
        del self._unwritten[: len(events)]


async def read(bucket: Bucket[ToldEvents], response: str) -> AsyncGenerator[tuple[int, bytes]]:
    """Events with their numbers, in order and once; a sign of life, with the number of the next
    event, whenever there was nothing new for a while. Ends after the last.
    """
    expected = 0
    async with aclosing(bucket.follow(response, SILENCE_S)) as pieces:
        async for piece in pieces:
            if piece is None:
                yield expected, WAITING
                continue
            for number, event in enumerate(piece.events, piece.first):
                if number == expected:
                    yield number, event + b"\n\n"
                    expected += 1
            if piece.is_last and expected == piece.first + len(piece.events):
                return
