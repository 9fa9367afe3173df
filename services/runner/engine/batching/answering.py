"""Answers under way: a token of each a step, the frames that come of it, and who is over.

A step may be promised: then it is made before anybody joins or leaves the decoding batch.
"""

import logging
import time
from collections.abc import Iterable

import mlx.core as mx

from proto.errors import Code
from proto.frames import PositionLogprobs
from services.runner.engine.answer.channels import Over
from services.runner.engine.batching import logprobs
from services.runner.engine.batching.drawing import Drawn
from services.runner.engine.batching.endings import Endings
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.mishaps import Mishaps
from services.runner.engine.batching.outbox import Outbox
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.batching.running import Running
from services.runner.engine.batching.sequence import Sequence

LEARNING = 0.2
"""Weight of the latest step in the measured step time."""

log = logging.getLogger(__name__)


class Answers:
    """Of those of ``running`` whose prompts are read."""

    def __init__(
        self,
        execution: Execution,
        running: Running,
        prefixes: Prefixes,
        outbox: Outbox,
        endings: Endings,
        mishaps: Mishaps,
        slots: int,
    ) -> None:
        self._execution = execution
        self._running = running
        self._prefixes = prefixes
        self._outbox = outbox
        self._endings = endings
        self._mishaps = mishaps
        self._slots = slots
        self._ends = frozenset(execution.loaded.tokenizer.eos_token_ids)
        self.step_s = 0.0
        """What a step takes, as measured."""
        self.generated_tokens = 0

    def begin(self, drawn: list[Drawn]) -> None:
        """First tokens go out; who wants more joins the decoding batch."""
        staying: list[Drawn] = []
        now = time.monotonic()
        for sequence, token, row in drawn:
            self._running.reading.remove(sequence)
            sequence.pending = sequence.forced = None
            sequence.first_token_at = sequence.first_token_at or now
            if sequence.max_tokens == 0:
                self._endings.end(sequence, Over("length"), now)
            elif not self._take(sequence, token, row, now):
                staying.append((sequence, token, row))
        if staying:
            sequences = [sequence for sequence, _, _ in staying]
            numbers = self._running.decoder.join(staying)
            self._running.answering.update(zip(numbers, sequences, strict=True))
            for sequence in sequences:
                sequence.cache = None

    def step(self, *, may_promise: bool = False) -> None:
        """A token of each. ``may_promise``: as the decoder's."""
        stopped: dict[int, None] = {}
        if self._step(stopped, may_promise=may_promise):
            self._release(stopped)

    def keep_promise(self) -> None:
        """Before anything but a plain step."""
        if self._running.decoder.owes_step:
            self.step()

    def abandon(self, numbers: Iterable[int], code: Code, message: str) -> None:
        for number in numbers:
            self._endings.fail(self._running.answering[number], code, message)
        self._release(dict.fromkeys(numbers))

    def _step(self, stopped: dict[int, None], *, may_promise: bool = False) -> bool:
        """A token of each, or false: nobody is there any more. ``stopped`` has those whose answers
        are over and who are still in the batch.
        """
        started = time.perf_counter()
        try:
            responses = self._running.decoder.step(may_promise=may_promise)
        except Exception as failure:
            log.exception("a decode step of %d requests failed", len(self._running.answering))
            self._collapse(failure)
            return False
        self.step_s += LEARNING * (time.perf_counter() - started - self.step_s)
        now = time.monotonic()
        for response in responses:
            uid = response.uid
            sequence = self._running.answering[uid]
            # Of several tokens of one answer, those behind its end are nobody's.
            if uid not in stopped and self._take(sequence, response.token, response.logprobs, now):
                stopped[uid] = None
            if response.finish_reason is not None:
                del self._running.answering[uid]
                stopped.pop(uid, None)
                self._prefixes.keep(
                    sequence, response.all_tokens or [], response.prompt_cache or []
                )
        return True

    def _take(self, sequence: Sequence, token: int, row: mx.array, now: float) -> bool:
        """One token of an answer becomes frames. True if the answer ends with it."""
        if sequence.guide is not None and (trouble := sequence.guide.trouble) is not None:
            self._endings.fail(
                sequence, Code.INTERNAL, f"the answer went off its grammar: {trouble}"
            )
            return True
        over: Over | None
        if token in self._ends:
            frames, over = sequence.turn_ended()
        else:
            self.generated_tokens += 1
            sequence.share.generated()
            details: tuple[PositionLogprobs, ...] = ()
            if sequence.logprobs is not None:
                pieces = self._execution.loaded.pieces
                details = (logprobs.position(row, token, sequence.logprobs, pieces),)
            frames, over = sequence.took(token, details)
            if sequence.delivered:
                frames, over = sequence.undelivered(frames, over)
        self._outbox.put(sequence, frames)
        if over is None:
            return False
        self._endings.end(sequence, over, now)
        return True

    def _release(self, stopped: dict[int, None]) -> None:
        """Out of the decoding batch before their natural end, once what was promised is done; what
        was computed is kept.
        """
        owes_step = stopped and self._running.decoder.owes_step
        if (owes_step and not self._step(stopped)) or not stopped:
            return
        caches = self._running.decoder.leave(list(stopped))
        for uid in stopped:
            cache, tokens = caches[uid]
            self._prefixes.keep(self._running.answering.pop(uid), tokens, cache)

    def _collapse(self, failure: Exception) -> None:
        error = self._mishaps.of(failure, "generating")
        lost, self._running.answering = list(self._running.answering.values()), {}
        for sequence in lost:
            self._endings.fail(sequence, error.code, error.message)
        self._running.decoder.close()
        self._running.decoder = self._execution.decoder(self._slots)
