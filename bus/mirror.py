"""A bucket as one process knows it: followed, and never older than what it wrote itself."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from bus.errors import Conflict
from bus.state import Bucket

M = TypeVar("M")

TRIES = 5
"""A record that somebody else changes at the same moment is read and changed again."""


class Mirror(Generic[M]):
    """Records by key, as of the newest revision that was heard or written."""

    def __init__(self, bucket: Bucket[M], now: Callable[[], float] = time.monotonic) -> None:
        self.bucket = bucket
        self._now = now
        self._records: dict[str, M] = {}
        self._heard_at: dict[str, float] = {}
        self._revisions: dict[str, int] = {}
        self.changed = asyncio.Event()
        """Set with every change; whoever waits for one clears it."""

    @property
    def records(self) -> Mapping[str, M]:
        return self._records

    @property
    def heard_at(self) -> Mapping[str, float]:
        """By the clock, when each record was first known as it is."""
        return self._heard_at

    def age_s(self, key: str) -> float:
        """How long a record has been known as it is; 0 for one that is not known."""
        now = self._now()
        return now - self._heard_at.get(key, now)

    async def run(self) -> None:
        """Follow the bucket for ever."""
        await self.bucket.watch_revisions(self._hear)

    async def read(self) -> None:
        """Know all that is there now, be it followed or not. Raises NotConnected."""
        before = {key: self._revisions[key] for key in self._records}
        there = await self.bucket.all_revisions()
        for key, (record, revision) in there.items():
            self._hear(key, record, revision)
        for key in before.keys() - there.keys():
            # Unless it was written again meanwhile, and that was heard.
            if self._revisions[key] == before[key] and not self.bucket.is_spoiled(key):
                self._hear(key, None, 0)

    def _hear(self, key: str, record: M | None, revision: int) -> None:
        if 0 < revision <= self._revisions.get(key, 0):
            return
        if record is None:
            self._records.pop(key, None)
        else:
            self._records[key] = record
        if record is None:
            self._heard_at.pop(key, None)
        elif revision != self._revisions.get(key):
            self._heard_at[key] = self._now()
        self._revisions[key] = revision
        self.changed.set()

    async def change(self, key: str, change: Callable[[M | None], M]) -> M:
        """Write what ``change`` makes of the newest record, unless that is what it was.

        ``change`` may be called more than once; what it raises is raised here.
        Raises NotConnected and, after TRIES, Conflict.
        """
        for _ in range(TRIES):
            found = await self.bucket.get(key)
            before, revision = found or (self._last_known(key), 0)
            after = change(before)
            if after == before and found is not None:
                self._hear(key, after, revision)
                return after
            try:
                revision = await self.bucket.swap(key, after, revision)
            except Conflict:
                continue
            self._hear(key, after, revision)
            return after
        raise Conflict(key)

    def _last_known(self, key: str) -> M | None:
        """Of a record in whose place there is none any more."""
        return self._records.get(key) if self.bucket.is_spoiled(key) else None

    async def mend(self) -> None:
        """Where there is no record at all any more, write what was known of it.

        Raises NotConnected and Conflict.
        """
        for key in [key for key in self._records if self.bucket.is_spoiled(key)]:
            record = self._records[key]
            self._hear(key, record, await self.bucket.swap(key, record, 0))

    async def delete(self, key: str) -> None:
        """Raises NotConnected."""
        await self.bucket.delete(key)
        self._forget(key)

    async def erase(self, key: str) -> None:
        """Raises NotConnected."""
        await self.bucket.erase(key)
        self._forget(key)

    def _forget(self, key: str) -> None:
        self._records.pop(key, None)
        self._heard_at.pop(key, None)
