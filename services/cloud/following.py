"""Which upstreams there are, followed: what the environment declares, the configuration, and the
keys that the mesh keeps.
"""

import asyncio
import os
from collections.abc import Mapping

from bus.config import ConfigFollower
from bus.connection import Bus
from proto.config import ProviderConfig
from proto.provider import (
    CheckProvider,
    LookAtProviders,
    ProviderChecked,
    ProvidersSeen,
)
from services.cloud.providers.check import check, unknown
from services.cloud.providers.kept import KeptKeys
from services.cloud.providers.upstreams import configured, upstreams
from services.cloud.providers.view import seen
from services.cloud.standing import Standing


class Following:
    """Keeps ``standing`` as it is wanted, and says how it is."""

    def __init__(
        self,
        bus: Bus,
        declared: Mapping[str, ProviderConfig],
        config: ConfigFollower,
        kept: KeptKeys,
        standing: Standing,
    ) -> None:
        self._bus = bus
        self._declared = declared
        self._config = config
        self._kept = kept
        self._standing = standing
        self._turn = asyncio.Lock()

    @property
    def _wanted(self) -> Mapping[str, ProviderConfig]:
        return configured(self._declared, self._config.layers)

    async def settle(self) -> None:
        # Before the configuration is known, it may hide what the environment declares.
        async with self._turn:
            if self._config.is_known:
                wanted = upstreams(self._wanted, self._kept.by_provider, os.environ)
                await self._standing.settle(wanted)

    async def follow(self, news: asyncio.Event) -> None:
        """For ever: settle whenever there is news."""
        while True:
            await news.wait()
            news.clear()
            await self.settle()

    async def _catch_up(self) -> None:
        """Whoever asks may have changed something a moment ago. Raises MeshError."""
        await self._config.read(self._bus)
        await self._kept.read()
        await self.settle()

    async def look(self, _: LookAtProviders) -> ProvidersSeen:
        """Raises MeshError."""
        await self._catch_up()
        beat_of, views = self._standing.beat_of, self._kept.views
        wanted = sorted(self._wanted.items())
        return ProvidersSeen(
            providers=tuple(seen(name, entry, beat_of(name), views(name)) for name, entry in wanted)
        )

    async def examine(self, asked: CheckProvider) -> ProviderChecked:
        """Raises MeshError."""
        await self._catch_up()
        stand = self._standing.stands.get(asked.provider)
        if stand is None:
            raise unknown(asked.provider)
        return ProviderChecked(check=await check(stand.upstream))
