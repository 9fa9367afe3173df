"""Making room by pausing: for who comes, and for the next token of everybody."""

import logging
from collections.abc import Callable

from services.runner.engine.batching import preemption
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.running import Running
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.queueing.queue import Queue

log = logging.getLogger(__name__)

Keep = Callable[[Sequence, list[int], Cache], None]
"""Into the prefix cache with what a sequence has computed, as far as there is room."""


class Pausing:
    """Whoever has to give way waits again, and its reader sees only that nothing comes."""

    def __init__(
        self, running: Running, queue: Queue[Sequence], kv: KvRoom, slots: int, keep: Keep
    ) -> None:
        self._running = running
        self._queue = queue
        self._kv = kv
        self._slots = self._most = slots
        """How many may run, and how many do well to as long as bytes are short."""
        self._keep = keep

    def makes_room(self, newcomer: Sequence) -> bool:
        """False when it has to wait on: nobody needs to give way to it, or not enough of them."""
        slots = len(self._running) + 1 - self._most
        tokens = self._kv.lacking(newcomer, self._running)
        if slots <= 0 and tokens <= 0:
            return True
        leaving = preemption.giving_way(
            newcomer, self._running.pausable(), self._queue.at_once, slots, tokens
        )
        for sequence in leaving:
            self.pause(sequence)
        return bool(leaving)

    def held_unless_due(self) -> int | None:
        """Bytes of all KV caches, where they are bounded and 0 else; None if somebody has to give
        way before everybody grows by a token.
        """
        kv, running = self._kv, self._running
        if not kv.is_bounded:
            return 0
        held = running.held_bytes
        return None if kv.is_full(running) or kv.is_exceeded(held) else held

    def keep_within_memory(self) -> int:
        """Before everybody grows by a token: the last in order give way until there is room.

        Rows of a batch are as long as its longest, so what one more would take is known only when
        it is there: after bytes ran out, one is admitted when another ends, until there is plenty.
        The bytes that are held then, asked for once where nobody gives way: it takes its time.
        """
        while self._kv.is_full(self._running) and self._pause_last():
            pass
        held = self._running.held_bytes
        if self._kv.is_roomy(held):
            self._most = self._slots
        while self._kv.is_exceeded(held) and self._pause_last():
            self._most, held = len(self._running), self._running.held_bytes
        return held

    def _pause_last(self) -> bool:
        """False when nobody can be paused before the next step, or only one runs."""
        last = next(iter(preemption.last_first(self._running.pausable())), None)
        if last is None or len(self._running) == 1:
            return False
        log.info("%s has to wait: the KV memory is used up", last.request)
        self.pause(last)
        return True

    def pause(self, sequence: Sequence) -> None:
        """One that can be paused waits again, in front of its key's others."""
        held = self._running.pause(sequence)
        if held is not None:
            self._keep(sequence, *held)
        self._queue.put_back(sequence)
