"""Whether this process can hear: what it does not hear meanwhile proves nothing about others."""

import time
from collections.abc import Callable

from proto.presence import SILENCE_S

LOOK_S = 0.1
STOOD_S = 1.0
"""A look this late: the process was stopped, or its machine slept."""
MOMENT_S = 0.2
"""In which all is read that came while it stood."""


class Ear:
    """Looks now and then, and whenever it is asked. The clock is handed in."""

    def __init__(
        self, is_reached: Callable[[], bool], now: Callable[[], float] = time.monotonic
    ) -> None:
        """``is_reached``: whether the server answers at this moment."""
        self._is_reached = is_reached
        self._now = now
        self._looked_at = self._hears_since = self._deaf_from = now()
        self._stood_s, self._woke_at = 0.0, self._looked_at - MOMENT_S

    @property
    def is_deaf(self) -> bool:
        return not self._is_reached()

    def look(self) -> float:
        """The time, once it is known whether anything was missed until now."""
        now = self._now()
        pause_s = now - self._looked_at
        if pause_s > STOOD_S:
            self._stood_s, self._woke_at = pause_s, now
        if pause_s > STOOD_S or self.is_deaf:
            if self._looked_at - self._hears_since > SILENCE_S:
                self._deaf_from = self._looked_at
            self._hears_since = now
        self._looked_at = now
        return now

    def is_excused(self, silence_s: float) -> bool:
        """Nobody could be heard so short a time ago: silence is not as long as it seems."""
        return self.look() - self._hears_since <= silence_s

    def oldest(self, silence_s: float) -> float:
        """Who was heard after this moment has not been silent for ``silence_s``.

        While nobody can be heard, and for so long afterwards, it is as it was when somebody could.
        """
        now = self.look()
        return (self._deaf_from if self.is_excused(silence_s) else now) - silence_s

    @property
    def stood_s(self) -> float:
        """How long what is read now may have lain there, because this process stood still."""
        return self._stood_s if self.look() - self._woke_at < MOMENT_S else 0.0
