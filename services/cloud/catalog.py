"""What an upstream has: its models appear with it, and vanish with it."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.presence import ModelCard
from services.cloud.engines.kinds import KINDS
from services.cloud.leaving import VENDORS, leaves
from services.cloud.line import Line
from services.cloud.naming import ours
from services.cloud.providers.access import is_listed, is_open
from services.cloud.providers.pricing import priced
from services.cloud.settings import Upstream

log = logging.getLogger(__name__)

AGAIN_S = 60.0
RETRY_S = 5.0
NEAR_S = 2.0
"""What is near is asked so often whatever it says: its models come and go with it."""
PATIENCE_S = 10.0
STALE_S = 3600.0
"""So long an older catalog of a vendor is good enough; of others it is a sign of life."""

Cards = tuple[ModelCard, ...]
Told = Callable[[Upstream, Cards], None]
"""Hears what an upstream tells, whenever that is something new."""


class Catalog:
    """One upstream's models, as cards."""

    def __init__(self, upstream: Upstream, line: Line, told: Told) -> None:
        self.cards: Cards = ()
        self.trouble = ""
        self.has_looked = asyncio.Event()
        """Set when the upstream was asked for the first time, whatever it said, or when it is
        known from earlier."""
        self._upstream = upstream
        self._line = line
        self._tell = told
        self._told: Cards = ()
        """By the ids that the upstream has for them."""
        self._told_at = -STALE_S
        self._ids: frozenset[str] = frozenset()
        self._again = asyncio.Event()

    async def keep(self) -> None:
        """Ask again and again, for ever."""
        while True:
            self._again.clear()
            try:
                await self.look()
                wait_s = AGAIN_S
            except MeshError:
                wait_s = RETRY_S
            if _is_near(self._upstream):
                wait_s = NEAR_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), wait_s)

    async def look(self) -> None:
        """Ask now. Raises MeshError."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._line.held() as client:
                told = await client.catalog()
        except TimeoutError:
            late = MeshError(
                Code.UPSTREAM,
                f"The upstream {self._upstream.name!r} told no models within {PATIENCE_S:g} s.",
            )
            self._failed(late)
            raise late from None
        except MeshError as error:
            self._failed(error)
            raise
        self.trouble = ""
        is_new = told != self._told
        self._know(told)
        self._told_at = time.monotonic()
        if is_new:
            self._tell(self._upstream, told)

    def recall(self, told: Cards) -> None:
        """What was told to an earlier process stands until this one has heard more."""
        if told and not self.has_looked.is_set():
            self._know(told)

    def change(self, upstream: Upstream, *, is_elsewhere: bool) -> None:
        """Another choice of its models, or another server, whose models nobody knows yet."""
        self._upstream = upstream
        self._know(() if is_elsewhere else self._told)
        if is_elsewhere:
            self._told_at = -STALE_S
        self._again.set()

    def takes(self, id: str) -> bool:
        return is_open(self._upstream, id, self._ids)

    def _know(self, told: Cards) -> None:
        self._told = told
        self._ids = frozenset(card.id for card in told)
        self.cards = tuple(self._published(c) for c in told if is_listed(self._upstream, c.id))
        self.has_looked.set()

    def _failed(self, error: MeshError) -> None:
        if error.message != self.trouble:
            log.warning("no catalog of %s: %s", self._upstream.name, error)
        self.trouble = error.message
        is_fresh = time.monotonic() - self._told_at < STALE_S
        if not (is_fresh and self._upstream.kind in VENDORS):
            self._know(())

    def _published(self, card: ModelCard) -> ModelCard:
        name = self._upstream.name
        known = priced(card, self._upstream)
        return replace(known, id=ours(name, card.id), owner=f"odyssai-cloud-{name}")


def _is_near(upstream: Upstream) -> bool:
    """An engine of a known make is, also where its name could lead anywhere."""
    return upstream.kind in KINDS or not leaves(upstream.kind, upstream.url)
