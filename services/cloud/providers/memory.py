"""What providers told last, in shared state: whoever starts lists it while they are slow."""

import asyncio
import logging

import msgspec

from bus.connection import Bus
from bus.errors import BusError
from bus.state import Bucket
from proto.presence import ModelCard
from proto.provider import CATALOGS, KnownCatalog
from services.cloud.settings import Upstream

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20
"""Of one record: a message of the bus carries twice that."""


class CatalogMemory:
    def __init__(self, bucket: Bucket[KnownCatalog], known: dict[str, KnownCatalog]) -> None:
        self._bucket = bucket
        self._known = known
        self._unwritten: dict[str, KnownCatalog] = {}
        self._news = asyncio.Event()

    @classmethod
    async def read(cls, bus: Bus) -> "CatalogMemory":
        """Raises NotConnected."""
        bucket = await Bucket.open(bus, CATALOGS, KnownCatalog)
        return cls(bucket, await bucket.all())

    def of(self, upstream: Upstream) -> tuple[ModelCard, ...]:
        """None where another server told it."""
        known = self._known.get(upstream.name)
        return known.cards if known is not None and known.url == upstream.url else ()

    def keep(self, upstream: Upstream, cards: tuple[ModelCard, ...]) -> None:
        told = KnownCatalog(url=upstream.url, cards=cards)
        if self._known.get(upstream.name) != told:
            self._known[upstream.name] = self._unwritten[upstream.name] = told
            self._news.set()

    async def write(self) -> None:
        """What is new, for ever. While the bus is away it waits for the next."""
        while True:
            await self._news.wait()
            self._news.clear()
            for name, told in tuple(self._unwritten.items()):
                del self._unwritten[name]
                if len(msgspec.json.encode(told)) <= MOST_BYTES:
                    await self._put(name, told)

    async def _put(self, name: str, told: KnownCatalog) -> None:
        try:
            await self._bucket.put(name, told)
        except BusError as error:
            log.info("the catalog of %s is not kept: %s", name, error)
