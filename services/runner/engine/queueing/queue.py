"""Who waits for an engine, and who is next: by priority, then fairly between keys.

A key's own requests keep their order. Requests are put in by one thread and taken out by
another, so each call is whole.
"""

import bisect
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, NamedTuple, Protocol, TypeVar

from proto.ids import KeyId, RequestId
from proto.placement import Priority
from services.runner.engine.queueing.fairness import Share, Shares

BATCH_EVERY = 16
"""While interactive requests keep coming, one admission in so many is a batch request's."""
PATIENCE_S = 60.0
"""A request without a deadline is placed among its key's as if it had one so far off."""
AT_ONCE = 16
"""One part in so many of the slots is a key's at once, whatever it had before; at least one."""


class Waiting(Protocol):
    """What the queue must know of a request."""

    request: RequestId
    key: KeyId
    weight: float
    priority: Priority
    expires_at: float | None
    ran_before: bool
    """Here or elsewhere: somebody has heard a part of its answer."""
    share: Share
    """Set by the queue."""
    is_due: bool
    """A batch request that was next in spite of interactive ones. Set by the queue."""

    @property
    def remaining(self) -> int:
        """Tokens to be read before its first."""


W = TypeVar("W", bound=Waiting)


class Rank(NamedTuple):
    """The lowest goes first."""

    is_batch: bool
    has_some: bool
    """Its key runs as many already as are anybody's at once."""
    served: float


class _Place(NamedTuple):
    """In a line."""

    is_new: bool
    """Who ran already and had to give way, or was lost with its engine, goes first."""
    due_s: float
    number: int


@dataclass
class _Line(Generic[W]):
    """A key's requests of one priority, the next one first."""

    share: Share
    is_batch: bool
    places: list[_Place] = field(default_factory=list)
    waiting: list[W] = field(default_factory=list)


class Queue(Generic[W]):
    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives monotonic seconds, by which requests expire."""
        self.at_once = max(1, slots // AT_ONCE)
        self._clock = clock
        self._shares = Shares()
        self._lines: dict[tuple[KeyId, Priority], _Line[W]] = {}
        self._numbers = itertools.count()
        self._overtaken = 0
        """Interactive requests taken since a batch request that waits could last be taken."""
        self._lock = Lock()
        self._length = 0
        self.next_expiry = math.inf
        """When a request that waits expires, or one that waited would have."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[W]:
        """All that wait, in no particular order."""
        with self._lock:
            return iter([w for line in self._lines.values() for w in line.waiting])

    def add(self, request: W) -> None:
        with self._lock:
            request.share = self._shares.enter(request.key, request.weight)
            deadline = request.expires_at
            due_s = self._clock() + PATIENCE_S if deadline is None else deadline
            self._insert(request, _Place(not request.ran_before, due_s, next(self._numbers)))
            if deadline is not None:
                self.next_expiry = min(self.next_expiry, deadline)

    def put_back(self, request: W) -> None:
        """One that was taken has to wait again, in front of its key's others."""
        with self._lock:
            request.share.running -= 1
            self._insert_first(request)

    def set_aside(self, request: W) -> None:
        """One that waits is not next, however long, until it is brought back or dropped."""
        with self._lock:
            self._remove(request)

    def bring_back(self, request: W) -> None:
        """One that was set aside waits again, in front of its key's others."""
        with self._lock:
            self._insert_first(request)

    def drop(self, request: W) -> None:
        """One that was set aside is over."""
        with self._lock:
            self._shares.leave(request.share)

    def next(self) -> W | None:
        """Who is to be taken; the same one until something changes."""
        if not self._length:
            return None
        with self._lock:
            return self._next_line().waiting[0]

    def take(self, request: W) -> None:
        """It runs from now on. Whoever ``next`` named is taken, or nobody."""
        with self._lock:
            request.is_due = request.priority == "batch" and self._is_batch_due
            others = any(line.is_batch for line in self._lines.values())
            self._overtaken = self._overtaken + 1 if others and request.priority != "batch" else 0
            self._remove(request)
            request.share.running += 1

    def end(self, request: W) -> None:
        """One that was taken is over."""
        with self._lock:
            request.share.running -= 1
            self._shares.leave(request.share)

    def withdraw(self, is_over: Callable[[W], bool]) -> list[W]:
        """Those that wait no more, out of the queue."""
        gone = [request for request in self if is_over(request)]
        with self._lock:
            for request in gone:
                self._remove(request)
                self._shares.leave(request.share)
            deadlines = [w.expires_at for line in self._lines.values() for w in line.waiting]
            self.next_expiry = min((at for at in deadlines if at is not None), default=math.inf)
        return gone

    def waiting_of(self, key: KeyId) -> int:
        with self._lock:
            return sum(len(line.waiting) for (k, _), line in self._lines.items() if k == key)

    def place_of(self, request: RequestId) -> int | None:
        """Requests ahead of it as things stand; None when it does not wait."""
        with self._lock:
            order = enumerate(self._order())
            return next((place for place, each in order if each.request == request), None)

    def rank(self, request: W) -> Rank:
        """Among requests that are being read, too."""
        share = request.share
        return Rank(request.priority == "batch", share.running > self.at_once, share.served)

    @property
    def _is_batch_due(self) -> bool:
        return self._overtaken >= BATCH_EVERY - 1

    def _next_line(self) -> _Line[W]:
        lines = self._lines.values()
        best = min(lines, key=self._rank)
        if self._is_batch_due and self._rank(best).has_some:
            return min([line for line in lines if line.is_batch] or lines, key=self._rank)
        return best

    def _rank(self, line: _Line[W]) -> Rank:
        share = line.share
        return Rank(line.is_batch, share.running >= self.at_once, share.served)

    def _order(self) -> Iterator[W]:
        """As they would be taken if nothing came and nothing ended, batch requests last."""
        lines = list(self._lines.values())
        heap = [(self._rank(line), number, 0) for number, line in enumerate(lines)]
        heapq.heapify(heap)
        while heap:
            rank, number, at = heapq.heappop(heap)
            line = lines[number]
            yield line.waiting[at]
            if at + 1 < len(line.waiting):
                has_some = line.share.running + at + 1 >= self.at_once
                served = rank.served + line.waiting[at].remaining / line.share.weight
                heapq.heappush(heap, (Rank(line.is_batch, has_some, served), number, at + 1))

    def _insert_first(self, request: W) -> None:
        self._insert(request, _Place(False, 0.0, -next(self._numbers)))
        if request.expires_at is not None:
            self.next_expiry = min(self.next_expiry, request.expires_at)

    def _insert(self, request: W, place: _Place) -> None:
        name = request.key, request.priority
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(request.share, request.priority == "batch")
        at = bisect.bisect(line.places, place)
        line.places.insert(at, place)
        line.waiting.insert(at, request)
        self._length += 1

    def _remove(self, request: W) -> None:
        name = request.key, request.priority
        line = self._lines[name]
        at = line.waiting.index(request)
        del line.places[at], line.waiting[at]
        if not line.waiting:
            del self._lines[name]
        self._length -= 1


def has_place(waiting: int, own: int, limit: int) -> bool:
    """Whether one more request may wait where ``waiting`` do, ``own`` of them of its key.

    A key may have as many as seven times the places that are left, so that some are always left
    for another; where there are fewer than eight in all, there is nothing to keep.
    """
    free = limit - waiting
    return free > 0 and own < 7 * free
