"""The gateway that makes an answer, as another sees it that waits for that answer."""

import time
from collections.abc import Callable
from typing import Literal

from bus.connection import Bus
from bus.errors import BusError, NobodyThere
from bus.gateways import ABSENCES, PROBE_S
from proto.errors import MeshError
from proto.kept import KeptAnswer
from proto.presence import SILENCE_S, Probe
from proto.subjects import PROBE

Fate = Literal["lives", "ended", "silent"]
"""``silent`` for so long that it is not waited for; it may come back all the same."""


class Claimant:
    def __init__(
        self, bus: Bus, kept: KeptAnswer, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.kept = kept
        self._bus = bus
        self._now = now
        self._heard = now()
        self._absences = 0

    async def fate(self) -> Fate:
        """One question; whoever waits asks again and again."""
        try:
            here = await self._bus.ask(PROBE, Probe(), self.kept.gateway, timeout_s=PROBE_S)
        except NobodyThere:
            # The server's word: who hears that is not met with silence.
            self._heard, self._absences = self._now(), self._absences + 1
            return "ended" if self._absences >= ABSENCES else "lives"
        except (BusError, MeshError):
            return "silent" if self._now() - self._heard > SILENCE_S else "lives"
        self._heard, self._absences = self._now(), 0
        return "lives" if here.boot == self.kept.boot else "ended"
