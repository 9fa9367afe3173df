"""Requests whose clients do not read: they neither run nor wait until they may go on."""

from collections.abc import Callable, Iterator

from proto.ids import RequestId
from services.runner.engine.batching.pausing import Pausing
from services.runner.engine.batching.running import Running
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.queueing.queue import Queue


class Parking:
    """Slot and KV memory of a parked sequence are others'; it goes on as after any pause."""

    def __init__(self, running: Running, queue: Queue[Sequence], pausing: Pausing) -> None:
        self._running = running
        self._queue = queue
        self._pausing = pausing
        self._held: set[RequestId] = set()
        """To be parked; unknown ones among them, since a request may be over."""
        self._parked: dict[RequestId, Sequence] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(list(self._parked.values()))

    def hold(self, request: RequestId) -> None:
        """Park it as soon as it can be paused."""
        self._held.add(request)

    def go_on(self, request: RequestId) -> None:
        self._held.discard(request)
        sequence = self._parked.pop(request, None)
        if sequence is not None:
            self._queue.bring_back(sequence)

    @property
    def is_due(self) -> bool:
        """Somebody is to be parked who is not."""
        return len(self._held) != len(self._parked)

    def park(self) -> None:
        """Those that are to be parked and can be, before a step."""
        if not self.is_due:
            return
        for sequence in self._running.pausable():
            if sequence.request in self._held:
                self._pausing.pause(sequence)
        for sequence in self._queue:
            if sequence.request in self._held:
                self._queue.set_aside(sequence)
                self._parked[sequence.request] = sequence

    def withdraw(self, is_over: Callable[[Sequence], bool]) -> list[Sequence]:
        """Those that go on no more."""
        gone = [sequence for sequence in self if is_over(sequence)]
        for sequence in gone:
            del self._parked[sequence.request]
            self._held.discard(sequence.request)
            self._queue.drop(sequence)
        return gone
