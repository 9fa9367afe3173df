"""Who waits for an upstream that takes so many requests at once, and who is next: by priority, then
fairly between keys.

A key's own requests keep their order. Between keys it goes by turns: each request puts its key's
clock on by one over the key's weight, and of all that wait the one with the earliest clock is next.
"""

import asyncio
import bisect
from dataclasses import dataclass, field

from proto.errors import Code, MeshError
from proto.ids import KeyId
from proto.placement import Priority

PLACES = 256
"""Requests that may wait; as many as an engine of ours lets wait without any word."""


@dataclass(order=True)
class Ticket:
    """A place in the line. The lowest goes first."""

    is_batch: bool
    turn: float
    number: int
    called: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


class Turns:
    """``slots`` may change at any time: fewer ends nobody, more calls those who wait."""

    def __init__(self, name: str, slots: int) -> None:
        self.running = 0
        self._name = name
        self._slots = slots
        self._waiting: list[Ticket] = []
        self._clocks: dict[KeyId, float] = {}
        """Of keys that wait or run ahead of the others."""
        self._now = 0.0
        self._given = 0

    @property
    def slots(self) -> int:
        return self._slots

    @slots.setter
    def slots(self, slots: int) -> None:
        self._slots = slots
        self._call()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def batch(self) -> int:
        """Of those that wait."""
        return sum(ticket.is_batch for ticket in self._waiting)

    def take(self, key: KeyId, weight: float, priority: Priority) -> Ticket:
        """At the end of what is before it. Raises MeshError when the line is full."""
        if len(self._waiting) >= PLACES:
            raise MeshError(
                Code.QUEUE_FULL,
                f"{self.running} requests run on {self._name} and {PLACES} wait.",
                retry_after_s=1.0,
            )
        turn = max(self._now, self._clocks.get(key, 0.0)) + 1 / weight
        self._clocks[key] = turn
        self._given += 1
        ticket = Ticket(priority == "batch", turn, self._given)
        bisect.insort(self._waiting, ticket)
        self._call()
        return ticket

    def place(self, ticket: Ticket) -> int:
        """How many are before it; 0 also for one that was called."""
        return 0 if ticket.called.is_set() else bisect.bisect_left(self._waiting, ticket)

    def leave(self, ticket: Ticket) -> None:
        """When it is over, or waits no longer."""
        if ticket.called.is_set():
            self.running -= 1
        else:
            self._waiting.remove(ticket)
        self._call()

    def _call(self) -> None:
        while self._waiting and self.running < self._slots:
            ticket = self._waiting.pop(0)
            ticket.called.set()
            self.running += 1
            self._now = max(self._now, ticket.turn)
        if not self._waiting:
            self._clocks.clear()
