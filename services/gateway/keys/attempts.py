"""Requests that were turned away: counted by address, so that nobody guesses keys at leisure.

A key that the mesh made cannot be guessed, and is looked at however many wrong ones came from its
address before. Only secrets that people chose are not, for a minute, where too many were wrong.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from services.gateway.http.client import network_of

WINDOW_S = 60.0
LIMIT = 20
"""Wrong keys from one address within a window."""
MOST_ADDRESSES = 4096
"""Those that are remembered; the oldest are forgotten first."""
MOST_TOLD = 16
"""Addresses that are told one by one; the rest are told together."""
BURST = 30.0
PER_S = 0.1
"""So much is told, and no more: a flood must not wash the rest out of the audit log."""


class Refusals(Struct, frozen=True):
    """What was turned away of one address since it was told last."""

    address: str
    """Empty: of several."""
    is_admin: bool
    """Administration was tried."""
    count: int


class Attempts:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When the window of an address began, and how many wrong keys came in it."""
        self._untold: dict[tuple[str, bool], int] = {}
        self._credit = BURST
        self._credited = clock()
        self.refused = 0
        """Requests without a key that is good for them, since the process began."""

    def wait_s(self, peer: str) -> float:
        """How long chosen secrets from there are not looked at; 0: they are."""
        since, count = self._wrong.get(network_of(peer), (0.0, 0))
        left = since + WINDOW_S - self._clock()
        return left if count >= LIMIT and left > 0 else 0.0

    def note(self, peer: str, *, is_wrong_key: bool, is_admin: bool) -> None:
        self.refused += 1
        told = (peer, is_admin)
        if told not in self._untold and len(self._untold) >= MOST_TOLD:
            told = ("", is_admin)
        self._untold[told] = self._untold.get(told, 0) + 1
        if is_wrong_key:
            self._count(network_of(peer))

    def _count(self, network: str) -> None:
        now = self._clock()
        since, count = self._wrong.pop(network, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._wrong[network] = (since, count + 1)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def told(self) -> list[Refusals]:
        """What there is to tell, as far as that is not too much now; it is told once."""
        now = self._clock()
        self._credit = min(BURST, self._credit + PER_S * (now - self._credited))
        self._credited = now
        told = list(self._untold)[: int(self._credit)]
        self._credit -= len(told)
        return [Refusals(*of, self._untold.pop(of)) for of in told]
