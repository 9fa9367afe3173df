"""Whether an engine has anything to do, since when it has not, and waiting until it has not."""

import asyncio
import time
from collections.abc import Callable


class Activity:
    """Told of every change in how many requests an engine has."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._idle = asyncio.Event()
        self._idle.set()
        self._idle_since = now()

    def note(self, requests: int) -> None:
        if requests:
            self._idle.clear()
        elif not self._idle.is_set():
            self._idle.set()
            self.rest()

    def rest(self) -> None:
        """Idleness counts from now, as when an engine can first be asked."""
        self._idle_since = self._now()

    def idle_s(self) -> float:
        """0 while there is any request."""
        return round(self._now() - self._idle_since, 3) if self._idle.is_set() else 0.0

    async def ends_within(self, most_s: float) -> bool:
        """True as soon as there is no request any more, False if that takes longer."""
        try:
            async with asyncio.timeout(most_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
