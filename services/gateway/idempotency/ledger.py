"""Claims and answers in the mesh's state, so that every gateway has all of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bus.connection import Bus
from bus.errors import Conflict, NotConnected
from bus.large import LargeBucket
from bus.provision import Limits
from proto.errors import Code, MeshError
from proto.kept import KEPT_ANSWERS, KeptAnswer

log = logging.getLogger(__name__)

T = TypeVar("T")
Book = LargeBucket[KeptAnswer]

AGAIN_S = 1.0


async def _nothing(_: Book) -> None:
    pass


class Ledger:
    """Opened with its first use, if not before. Methods raise MeshError while the state is away."""

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._bus = bus
        self._limits = limits
        self._opening = asyncio.Lock()
        self._book: Book | None = None

    async def prepare(self) -> None:
        """Return when it is open: on a cluster that takes longer than a client should wait."""
        while True:
            try:
                return await self._with_book(_nothing)
            except MeshError as error:
                log.info("kept answers are opened again: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def find(self, key: str) -> tuple[KeptAnswer, int] | None:
        """The record and its revision."""
        return await self._with_book(lambda book: book.get(key))

    async def write(self, key: str, kept: KeptAnswer, revision: int) -> int | None:
        """The new revision; None when somebody else wrote it in between (0: when it exists)."""

        async def swap(book: Book) -> int | None:
            try:
                return await book.swap(key, kept, revision)
            except Conflict:
                return None

        return await self._with_book(swap)

    async def withdraw(self, key: str, revision: int) -> None:
        """A claim of which nothing came, unless somebody else has taken it over."""

        async def delete(book: Book) -> None:
            try:
                await book.delete(key, revision)
            except Conflict:
                return

        await self._with_book(delete)

    async def _with_book(self, work: Callable[[Book], Awaitable[T]]) -> T:
        try:
            async with self._opening:
                if self._book is None:
                    self._book = await LargeBucket.open(
                        self._bus, KEPT_ANSWERS, KeptAnswer, self._limits
                    )
            return await work(self._book)
        except NotConnected as error:
            raise MeshError(
                Code.BUS_UNAVAILABLE,
                f"Kept answers cannot be reached: {error}. Try again, or without Idempotency-Key.",
                retry_after_s=1.0,
            ) from error
