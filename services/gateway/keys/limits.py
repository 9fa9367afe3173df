"""What keys may take in a minute: requests and tokens, counted over all gateways.

Each gateway counts what it serves and says it with its heartbeat, so that a limit may be passed by
what others took in the second before. Only keys that have a limit are counted.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from proto.errors import Code, MeshError
from proto.ids import GatewayId, KeyId
from proto.presence import GatewayBeat, KeyUse, Used
from services.gateway.keys.caller import Caller

WINDOW_S = 60
MOST_TOLD = 256
"""Keys in a heartbeat, those that asked last: whoever makes up keys does not make it grow."""


class _Taken(NamedTuple):
    """In one second."""

    at: float
    requests: int
    tokens: int


class Allowance(Struct, frozen=True):
    """One limit of a key, as it stands."""

    limit: int
    used: int
    reset_s: float
    """Until all that is used is over a minute old."""
    wait_s: float
    """Until there is any left; 0: there is."""

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class Standing(Struct, frozen=True):
    """A key's limits; None: it has none of this kind."""

    requests: Allowance | None
    tokens: Allowance | None


class Limits:
    """The last minute of every key that has a limit."""

    def __init__(self, gateway: GatewayId, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._clock = clock
        self._own: dict[KeyId, deque[_Taken]] = {}
        self._others: dict[GatewayId, dict[KeyId, list[_Taken]]] = {}

    def admit(self, caller: Caller) -> None:
        """One more request of it, which counts. Raises MeshError when that is one too many."""
        standing = self.standing(caller)
        refusal = _refusal(caller, standing)
        if refusal is not None:
            raise refusal
        if standing.requests is not None or standing.tokens is not None:
            self._own.setdefault(caller.key, deque())
            self._take(caller.key, 1, 0)

    def spend(self, key: KeyId, tokens: int) -> None:
        """Nothing is kept of keys without a limit."""
        if tokens and key in self._own:
            self._take(key, 0, tokens)

    def standing(self, caller: Caller) -> Standing:
        now = self._clock()
        taken = sorted(self._of(caller.key, now))
        return Standing(
            _allowance(caller.requests_per_minute, [(t.at, t.requests) for t in taken], now),
            _allowance(caller.tokens_per_minute, [(t.at, t.tokens) for t in taken], now),
        )

    def told(self) -> tuple[KeyUse, ...]:
        """For the heartbeat."""
        now = self._clock()
        for key in [key for key, taken in self._own.items() if not _recent(taken, now)]:
            del self._own[key]
        latest = sorted(self._own.items(), key=lambda entry: -entry[1][-1].at)[:MOST_TOLD]
        return tuple(
            KeyUse(key=key, used=tuple(Used(round(now - t.at, 1), *t[1:]) for t in taken))
            for key, taken in latest
        )

    def hear(self, beat: GatewayBeat) -> None:
        """What another gateway took grows old by itself, so that one that is gone may stay."""
        if beat.gateway == self._gateway:
            return
        now = self._clock()
        self._others.pop(beat.gateway, None)
        if beat.used:
            self._others[beat.gateway] = {
                use.key: [_Taken(now - u.age_s, u.requests, u.tokens) for u in use.used]
                for use in beat.used
            }

    def _take(self, key: KeyId, requests: int, tokens: int) -> None:
        now, taken = self._clock(), self._own[key]
        second = float(int(now))
        if taken and taken[-1].at == second:
            last = taken.pop()
            requests, tokens = requests + last.requests, tokens + last.tokens
        taken.append(_Taken(second, requests, tokens))

    def _of(self, key: KeyId, now: float) -> Iterable[_Taken]:
        yield from _recent(self._own.get(key, deque()), now)
        for taken in self._others.values():
            yield from (t for t in taken.get(key, ()) if now - t.at < WINDOW_S)


def _recent(taken: deque[_Taken], now: float) -> deque[_Taken]:
    while taken and now - taken[0].at >= WINDOW_S:
        taken.popleft()
    return taken


def _allowance(limit: int | None, taken: list[tuple[float, int]], now: float) -> Allowance | None:
    """``taken``: when how much was, the oldest first."""
    if limit is None:
        return None
    left = used = sum(count for _, count in taken)
    wait_s = 0.0
    for at, count in taken:
        if left < limit:
            break
        left -= count
        wait_s = WINDOW_S - (now - at)
    last = max((at for at, count in taken if count), default=now - WINDOW_S)
    return Allowance(limit, used, WINDOW_S - (now - last), wait_s)


def _refusal(caller: Caller, standing: Standing) -> MeshError | None:
    kinds = {"requests": standing.requests, "tokens": standing.tokens}
    waits = {kind: each for kind, each in kinds.items() if each is not None and each.wait_s}
    if not waits:
        return None
    kind, allowance = max(waits.items(), key=lambda entry: entry[1].wait_s)
    return MeshError(
        Code.RATE_LIMITED,
        f"{caller.key} has used {allowance.used} of its {allowance.limit} {kind} a minute. Try "
        f"again in {allowance.wait_s:.0f} s, or have its {kind}_per_minute raised.",
        retry_after_s=allowance.wait_s,
    )
