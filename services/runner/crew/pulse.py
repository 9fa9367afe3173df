"""What an agent hears of one engine: whether it is there, makes progress, has anything to do."""

import asyncio
import time
from collections.abc import Callable

from proto.presence import STALL_S, EngineBeat, EngineState

WEDGED_S = 10.0
"""An engine out of rotation this long, silent or without a step, is ended and started again."""


class Pulse:
    """Of one process of an engine after the other. The clock is handed in."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.boot = ""
        """Of the process; empty: it was adopted, and has not been heard yet."""
        self._now = now
        self._heard: EngineBeat | None = None
        self._well_at = self._heard_at = now()
        self._ready: asyncio.Queue[EngineBeat] = asyncio.Queue()

    def begin(self, boot: str) -> None:
        """Another process is there; nothing is known of it."""
        self.boot, self._heard, self._well_at = boot, None, self._now()

    def hear(self, beat: EngineBeat) -> None:
        if self.boot not in ("", beat.boot):
            return  # Of the process before, on its way when that ended.
        was_ready = self.state == "ready"
        self._heard, self.boot = beat, beat.boot
        self._heard_at = self._now()
        if beat.stalled_s < STALL_S:  # At work it is never quite zero.
            self._well_at = self._now()
        if beat.state == "ready" and not was_ready:
            self._ready.put_nowait(beat)

    async def readiness(self) -> EngineBeat:
        """The first heartbeat of each process that can be asked."""
        return await self._ready.get()

    @property
    def state(self) -> EngineState | None:
        """None: not heard yet."""
        return self._heard.state if self._heard else None

    @property
    def memory_bytes(self) -> int:
        return self._heard.memory_bytes if self._heard else 0

    @property
    def running(self) -> int:
        return self._heard.running if self._heard else 0

    def is_idle_for(self, at_least_s: float) -> bool:
        """Nobody has been served for so long. One that cannot be asked serves nobody."""
        heard = self._heard
        return heard is None or heard.state != "ready" or heard.idle_s >= at_least_s

    def is_wedged(self, silence_s: float = WEDGED_S) -> bool:
        """Heard once, it has been silent for so long, or without a step for ``WEDGED_S``."""
        if self._heard is None:
            return False
        now = self._now()
        return now - self._well_at > WEDGED_S or now - self._heard_at > silence_s

    def excuse_silence(self) -> None:
        """While the bus is away nobody is heard, and that proves nothing about the engine."""
        self._well_at = self._heard_at = self._now()
