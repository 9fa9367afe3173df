"""Leadership by lease: one of many leads, and whoever comes after it is told from it.

The record is gone ``LEASE_S`` after it was written last, so that nobody has to
judge whether its holder still lives. The holder itself steps down earlier, by
its own clock: two never lead at the same time, unless one of them was stopped
in between, and that one's epoch gives it away. Where the server's clock was put
back it forgets nothing for as long; who waits then goes by its own clock, too.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from bus.connection import Bus
from bus.errors import BusError, Conflict
from bus.provision import Limits
from bus.state import Bucket
from proto.state import LEASE_S, LEASES, LeaseRecord

log = logging.getLogger(__name__)

RENEW_S = 0.5
"""Between two renewals."""
LOOK_S = 0.15
"""Between two looks of those who wait: so long at most nobody leads who could."""
MARGIN_S = 0.3
"""So long before the record could be gone the holder steps down."""
TRY_S = 0.4
"""What was said into a connection that just broke is never answered: it is said again."""
AGAIN_S = 0.05
LIMITS = Limits(ttl_s=LEASE_S, max_bytes=1 << 20)


class Lease:
    """One candidate's view of one lease. ``now`` is monotonic."""

    def __init__(
        self,
        records: Bucket[LeaseRecord],
        name: str,
        holder: str,
        boot: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leader = ""
        """Who held it when it was looked at last; empty: nobody."""
        self.epoch = 0
        """Of that reign."""
        self._records = records
        self._name = name
        self._record = LeaseRecord(holder=holder, boot=boot, epoch=0)
        self._now = now
        self._revision = 0
        self._until = 0.0
        self._seen: tuple[int, float] = (0, 0.0)
        """The revision of somebody else's record, and when it was seen first."""

    @classmethod
    async def open(cls, bus: Bus, name: str, holder: str, boot: str) -> "Lease":
        """Raises NotConnected."""
        records = await Bucket.open(bus, LEASES, LeaseRecord, LIMITS)
        return cls(records, name, holder, boot)

    @property
    def is_held(self) -> bool:
        """Nobody else can have it at this moment."""
        return self._now() < self._until

    async def take(self) -> bool:
        """Hold it, if nobody does. Raises NotConnected."""
        found = await self._records.get(self._name)
        if found is not None and not self._is_ours(found[0]):
            self.leader, self.epoch = found[0].holder, found[0].epoch or found[1]
            if not self._is_overdue(found[1]):
                return False
        self.leader = ""
        asked = self._now()
        first = LeaseRecord(holder=self._record.holder, boot=self._record.boot, epoch=0)
        try:
            revision = await self._records.swap(self._name, first, found[1] if found else 0)
        except Conflict:
            return False
        self._record = LeaseRecord(holder=first.holder, boot=first.boot, epoch=revision)
        self.leader, self.epoch = first.holder, revision
        self._extend(asked, revision)
        return self.is_held

    def _is_overdue(self, revision: int) -> bool:
        """It should be gone by now: it was seen first longer ago than it lasts. Its holder has
        stepped down before that.
        """
        if self._seen[0] != revision:
            self._seen = revision, self._now()
        return self._now() - self._seen[1] > LEASE_S

    async def renew(self) -> bool:
        """Hold it longer; tries until it works. False: it is lost."""
        while self.is_held:
            try:
                async with asyncio.timeout(min(TRY_S, self._until - self._now())):
                    if await self._renewed():
                        return True
            except (BusError, TimeoutError):
                await asyncio.sleep(AGAIN_S)
        self._until, self.leader = 0.0, ""
        return False

    async def _renewed(self) -> bool:
        asked = self._now()
        try:
            revision = await self._records.swap(self._name, self._record, self._revision)
        except Conflict:
            if not await self._found_again():
                self._until = 0.0
            return False
        self._extend(asked, revision)
        return True

    async def _found_again(self) -> bool:
        """A renewal whose answer was lost has worked all the same: then the record is ours."""
        found = await self._records.get(self._name)
        if found is None or not self._is_this_reign(*found):
            return False
        self._revision = found[1]
        return True

    async def release(self) -> None:
        """Let the next one have it at once."""
        if not self.is_held:
            return
        self._until, self.leader = 0.0, ""
        try:
            async with asyncio.timeout(RENEW_S):
                while await self._found_again() and not await self._deleted():
                    await asyncio.sleep(0)  # A renewal that was under way has come in between.
        except (BusError, TimeoutError) as error:
            log.info("the lease %r runs out by itself: %s", self._name, error)

    async def _deleted(self) -> bool:
        try:
            await self._records.delete(self._name, self._revision)
        except Conflict:
            return False
        return True

    def _extend(self, asked: float, revision: int) -> None:
        """Reckoned from the question: the server wrote it later than that."""
        self._revision = revision
        self._until = asked + LEASE_S - MARGIN_S

    def _is_ours(self, record: LeaseRecord) -> bool:
        return (record.holder, record.boot) == (self._record.holder, self._record.boot)

    def _is_this_reign(self, record: LeaseRecord, revision: int) -> bool:
        return self._is_ours(record) and (record.epoch or revision) == self.epoch


async def lead(lease: Lease, reign: Callable[[int], Awaitable[None]]) -> None:
    """For ever: wait for the lease, then ``reign(epoch)`` as long as it is held.

    A reign is cancelled when the lease is lost, and may end by itself to give it up.
    """
    try:
        while True:
            if await _taken(lease):
                log.info("leading, epoch %d", lease.epoch)
                await _rule(lease, reign)
                log.info("leading no longer")
            await asyncio.sleep(LOOK_S)
    finally:
        await lease.release()


async def _taken(lease: Lease) -> bool:
    try:
        async with asyncio.timeout(LEASE_S):
            return await lease.take()
    except (BusError, TimeoutError) as error:
        log.info("no lease yet: %s", str(error) or type(error).__name__)
        return False


async def _rule(lease: Lease, reign: Callable[[int], Awaitable[None]]) -> None:
    ruling = asyncio.ensure_future(reign(lease.epoch))
    try:
        while not ruling.done() and await lease.renew():
            await asyncio.wait({ruling}, timeout=RENEW_S)
    finally:
        while not ruling.done():  # Libraries swallow a cancellation now and then.
            ruling.cancel()
            await asyncio.wait({ruling}, timeout=RENEW_S)
    await lease.release()
    if not ruling.cancelled():
        ruling.result()
