"""The keys of one upstream: which is shown next. One that was refused rests for a while."""

import time
from collections.abc import Callable, Mapping, Sequence

BUSY_S = 10.0
"""How long a key rests that has had all that it may, where the upstream does not say."""
WRONG_S = 300.0
"""How long one rests that is not accepted: somebody has to look after it."""
LEAST_S = 1.0
REFUSED: dict[int, float] = {401: WRONG_S, 402: WRONG_S, 429: BUSY_S}
"""Statuses that are a key's own matter, unknown, without means or busy, and how long it rests."""


class Credentials:
    """Each is what a request's headers say of it.

    One is used until it is refused: upstreams keep read prompts for each account. When all rest,
    the one whose rest ends first is shown, since only the upstream knows whether it would do: many
    count each model by itself.
    """

    def __init__(
        self,
        shown: Sequence[Mapping[str, str]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shown = list(shown) or [{}]
        self._rests_until = [0.0] * len(self._shown)
        self._current = 0
        self._now = now

    def __len__(self) -> int:
        return len(self._shown)

    def best(self) -> int:
        """The number of the key to show."""
        now, count = self._now(), len(self._shown)
        if self._rests_until[self._current] > now:
            order = [(self._current + step) % count for step in range(count)]
            rests = self._rests_until
            self._current = min(order, key=lambda number: max(rests[number], now))
        return self._current

    def of(self, number: int) -> Mapping[str, str]:
        return self._shown[number]

    def refuse(self, number: int, status: int, told_s: float | None) -> bool:
        """The upstream refused it. True when another one is there that does not rest."""
        rest_s = REFUSED[status] if told_s is None else max(told_s, LEAST_S)
        self._rests_until[number] = self._now() + rest_s
        return self._rests_until[self.best()] <= self._now()
