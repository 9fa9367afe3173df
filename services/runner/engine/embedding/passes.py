"""Who is read next: requests cut into passes, and passes shared by requests. No mlx, no bus."""

import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from numpy import float32
from numpy.typing import NDArray

from proto.errors import Code, MeshError
from proto.ids import KeyId, RequestId
from proto.placement import Priority
from services.runner.engine.embedding.row import Row
from services.runner.engine.queueing.fairness import NOBODY, Share
from services.runner.engine.queueing.queue import Queue

Numbers = NDArray[float32]

PASS_S = 0.25
"""What a pass may cost: arrivals and cancels wait that long."""
FIRST_RATE = 1000.0
"""Tokens a second assumed before anything is measured."""
LEARNING = 0.3
"""Weight of the latest pass in the measured rate."""


@dataclass(eq=False)
class Job:
    """A request's rows, and what those that were read came to."""

    request: RequestId
    rows: list[Row]
    expires_at: float | None = None
    """Monotonic seconds."""
    numbers: list[Numbers | None] = field(init=False)
    unread: list[int] = field(init=False)
    """Rows that are in no pass yet, by length, the longest last."""

    key: KeyId = NOBODY
    weight: float = 1.0
    priority: Priority = "interactive"
    ran_before: bool = False
    """Never: its answer is one message."""
    share: Share = field(default_factory=Share)
    """What its key has had of the engine."""
    is_due: bool = False
    """A batch request that was next in spite of interactive ones."""
    is_dropped: bool = False
    """Nobody waits for it any more."""

    def __post_init__(self) -> None:
        self.numbers = [None] * len(self.rows)
        self.unread = sorted(range(len(self.rows)), key=self.length)

    def length(self, row: int) -> int:
        return len(self.rows[row].ids)

    @property
    def tokens(self) -> int:
        """Of the rows that are in no pass yet."""
        return sum(map(self.length, self.unread))

    @property
    def remaining(self) -> int:
        return self.tokens

    @property
    def is_done(self) -> bool:
        return all(numbers is not None for numbers in self.numbers)

    def take(self, longest: int) -> int | None:
        """The longest row that is no longer than this, out of those unread."""
        place = bisect.bisect_right(self.unread, longest, key=self.length)
        return self.unread.pop(place - 1) if place else None


class Place(NamedTuple):
    """A row in a pass."""

    job: Job
    row: int


class Pace:
    """How many tokens a pass may have, learned from what passes cost."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._rate = FIRST_RATE

    @property
    def tokens(self) -> int:
        return max(self._least, min(self._most, int(self._rate * PASS_S)))

    def learn(self, tokens: int, seconds: float) -> None:
        self._rate += LEARNING * (tokens / max(seconds, 1e-6) - self._rate)


class Rotation:
    """``slots`` requests at work in turn, the others waiting in fair order."""

    def __init__(self, slots: int) -> None:
        self.queue: Queue[Job] = Queue(slots)
        self._slots = slots
        self._working: deque[Job] = deque()

    def __iter__(self) -> Iterator[Job]:
        yield from self._working
        yield from self.queue

    @property
    def has_work(self) -> bool:
        return bool(self._working or len(self.queue))

    @property
    def tokens(self) -> int:
        return sum(job.tokens for job in self)

    def add(self, job: Job) -> None:
        self.queue.add(job)

    def drop(self, job: Job) -> None:
        if job in self._working:
            self._working.remove(job)
            self.queue.end(job)
        else:
            self.queue.withdraw(lambda waiting: waiting is job)

    def expired(self, now: float) -> list[Job]:
        return [job for job in self if job.expires_at is not None and job.expires_at <= now]

    def next(self, tokens: int) -> list[Place]:
        """The rows of the next pass; padded, they are at most so many tokens, or one row.

        The key that had least has its turn: its request that waits longest for that
        gives its longest row, which is as wide as the pass. Then all give theirs in
        turn, none shorter than half of it: a short row beside a long one would mostly
        be padding.
        """
        self._fill()
        first = min(self._working, key=self.queue.rank)
        self._working.remove(first)
        self._working.appendleft(first)
        widest = first.length(first.unread[-1])
        places: list[Place] = []
        givers = deque(self._working)
        while givers and (not places or (len(places) + 1) * widest <= tokens):
            job = givers.popleft()
            row = _fitting(job, widest)
            if row is not None:
                places.append(Place(job, row))
                job.share.read(job.length(row))
                givers.append(job)
        self._turn()
        return places

    def _fill(self) -> None:
        while len(self._working) < self._slots and (job := self.queue.next()) is not None:
            self.queue.take(job)
            self._working.append(job)

    def _turn(self) -> None:
        self._working.rotate(-1)
        for job in [job for job in self._working if not job.unread]:
            self.drop(job)


def _fitting(job: Job, widest: int) -> int | None:
    row = job.take(widest)
    if row is not None and 2 * job.length(row) < widest:
        bisect.insort(job.unread, row, key=job.length)
        return None
    return row


def too_late() -> MeshError:
    return MeshError(Code.DEADLINE, "The deadline of the request passed before all was read.")
