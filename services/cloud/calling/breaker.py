"""Whether an upstream is asked at all: after failures in a row it is left alone for a while."""

import time
from collections.abc import Callable

from proto.errors import Code, MeshError
from proto.presence import Circuit

FAILURES = 5
"""In a row, each with all its retries."""
REST_S = 5.0
"""How long it is left alone at first; twice as long after each attempt that failed again."""
LONGEST_REST_S = 60.0


class Breaker:
    """``closed``: it is asked. ``open``: it is not. ``half_open``: its rest is over, and one
    request finds out for all others.
    """

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self.trouble = ""
        """What the last failure was; empty while it is asked."""
        self._name = name
        self._now = now
        self._failures = 0
        self._rest_s = REST_S
        self._rests_until: float | None = None
        """None: closed."""
        self._is_probed = False

    @property
    def circuit(self) -> Circuit:
        if self._rests_until is None:
            return "closed"
        return "half_open" if self._is_probed or self._rests_until <= self._now() else "open"

    def expect(self) -> None:
        """Raises MeshError when it must not be asked now."""
        if self._rests_until is None:
            return
        left_s = self._rests_until - self._now()
        if left_s > 0 or self._is_probed:
            raise MeshError(
                Code.UPSTREAM_DOWN,
                f"The upstream {self._name!r} failed {self._failures} times in a row and is left "
                f"alone for a moment: {self.trouble}",
                retry_after_s=max(left_s, 1.0),
            )

    def admit(self) -> None:
        """One is on its way, and will be told of by ``begin``, ``succeed``, ``fail`` or
        ``withdraw``. Raises MeshError.
        """
        self.expect()
        self._is_probed = self._rests_until is not None

    def begin(self) -> None:
        """An answer has begun: others need not wait until it is complete. The next failure is not
        forgiven.
        """
        if self._is_probed:
            self._close()
            self._failures = FAILURES - 1

    def succeed(self) -> None:
        if self._failures or self._rests_until is not None:
            self._close()
            self._failures = 0
            self._rest_s = REST_S

    def fail(self, why: str) -> None:
        self._failures += 1
        if self._failures < FAILURES:
            return
        if self._rests_until is None or self._is_probed:
            self.trouble = why
            self._rests_until = self._now() + self._rest_s
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        self._is_probed = False

    def withdraw(self) -> None:
        """Whoever asked left before anything was known."""
        self._is_probed = False

    def _close(self) -> None:
        self.trouble = ""
        self._rests_until = None
        self._is_probed = False
