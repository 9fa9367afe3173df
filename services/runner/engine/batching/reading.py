"""Reading prompts, mostly a chunk a step: choose whose, look at their pictures, read, and draw.

mlx-lm's own prompt batches make a short prompt wait for a long one beside it,
and stop the running streams meanwhile; so prompts are read here, in chunks
between two decode steps.
"""

import logging
import time
from collections.abc import Callable

import mlx.core as mx

from proto.ids import RequestId
from services.runner.engine.batching import pace
from services.runner.engine.batching.choosing import choose
from services.runner.engine.batching.chunk import Chunk, unseen
from services.runner.engine.batching.drawing import Drawn, first_tokens
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.batching.running import Running
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.queueing.queue import Rank

CLEAR_TOKENS = 4096
"""mlx's buffer cache grows with every new chunk size; so often it is emptied."""
LOOK_S = 60.0
"""A vision tower takes a picture in one piece, however large: seconds on a small machine."""

log = logging.getLogger(__name__)


class Reader:
    """Reads for those of ``running`` that are at their prompts."""

    def __init__(
        self,
        execution: Execution,
        running: Running,
        prefixes: Prefixes,
        rank: Callable[[Sequence], Rank],
        lose: Callable[[Sequence, Exception, str], None],
    ) -> None:
        """``rank`` says whose turn it is; ``lose`` ends one that cannot be read: why,
        and during what.
        """
        self._execution = execution
        self._running = running
        self._prefixes = prefixes
        self._rank = rank
        self._lose = lose
        self._turn = 0
        self._unswept_tokens = 0
        """Read since mlx's buffer cache was emptied."""
        self.pace = pace.Pace()
        self.excused_until = 0.0
        """Monotonic seconds until which a step may take long without being stuck."""

    def warm(self) -> None:
        """Passes of no request's, so that none waits for kernels and the pace is known."""
        self._execution.read(Chunk.of([self._blank(pace.SMALLEST)], pace.SMALLEST))
        for tokens in pace.WARMING:
            self._timed_read([self._blank(tokens)], tokens)

    def _blank(self, tokens: int) -> Sequence:
        blank = Sequence(RequestId("warm"), [0] * tokens, 1)
        self._prefixes.fetch(blank)
        return blank

    def step(self, decode_s: float) -> list[Drawn]:
        """One chunk; the next tokens of those whose prompts end with it.

        ``decode_s`` is what a decode step takes, which those who decode wait for anyway. The
        longest chunk of a small model takes less than a prompt that is owed may: then it is
        several, since a decode step after each would cost it most of what it is owed.
        """
        end = time.perf_counter() + pace.owed_s(decode_s)
        while True:
            group, drawn = self._chunk(decode_s)
            if drawn or time.perf_counter() >= end or not self._is_owed_more(group):
                return drawn

    def _is_owed_more(self, group: list[Sequence]) -> bool:
        first = group[0]
        return first in self._running.reading and pace.is_owed(first, self._decoding())

    def _decoding(self) -> list[Sequence]:
        return list(self._running.answering.values())

    def _chunk(self, decode_s: float) -> tuple[list[Sequence], list[Drawn]]:
        """Whose prompts were read, and the next tokens of those that ended."""
        reading = self._running.reading
        for sequence in reading:
            self._prefixes.match_again(sequence)

        def budget_of(first: Sequence) -> int:
            return self._budget(first, decode_s)

        group, budget = choose(reading, budget_of, self._turn, self._rank)
        self._turn += 1
        try:
            return group, self._read(group, budget)
        except Exception as failure:
            log.exception("reading the prompts of %s failed", [s.request for s in group])
            for sequence in group:
                self._lose(sequence, failure, "reading the prompt")
            return group, []

    def _budget(self, first: Sequence, decode_s: float) -> int:
        """Tokens that a chunk may have that begins with this prompt's."""
        decoding = self._decoding()
        seconds = pace.share_s(
            len(self._running.reading),
            len(decoding),
            decode_s,
            self.pace.pass_s(first.done),
            is_owed=pace.is_owed(first, decoding),
        )
        return self.pace.tokens(seconds, first.done, first.remaining)

    def _read(self, group: list[Sequence], budget: int) -> list[Drawn]:
        """First tokens if the chunk ends the group's prompts, which the prefix cache then knows."""
        for sequence in group:
            if sequence.cache is None:
                self._prefixes.fetch(sequence)
        if self._look(Chunk.of(group, budget)):
            return []
        logits = self._timed_read(group, budget)
        if logits is None:
            return []
        drawn = self._draw(group, logits)
        for sequence, _, _ in drawn:
            self._prefixes.keep_prompt(sequence)
        return drawn

    def _look(self, chunk: Chunk) -> bool:
        """True when a picture of the chunk was looked at: one a step, as each may take long."""
        first = unseen(chunk)
        if first is None:
            return False
        sequence, picture = first
        self.excused_until = time.monotonic() + LOOK_S
        try:
            self._execution.loaded.model.look(picture)
        except Exception as failure:
            log.exception("looking at a picture of %s failed", sequence.request)
            self._lose(sequence, failure, "looking at an image")
        finally:
            self.excused_until = 0.0
        return True

    def _timed_read(self, group: list[Sequence], budget: int) -> mx.array | None:
        # The step decoded last may still be running: it is not this chunk's cost.
        mx.synchronize(self._running.decoder.stream)
        started = time.perf_counter()
        chunk, context = Chunk.of(group, budget), group[0].done
        logits = self._execution.read(chunk)
        if chunk.size >= pace.SMALLEST:
            self.pace.learn(chunk.size, context, time.perf_counter() - started)
        for sequence, tokens in zip(chunk.sequences, chunk.tokens, strict=True):
            sequence.share.read(len(tokens))
        self._sweep(chunk.size)
        return logits

    def _sweep(self, tokens: int) -> None:
        self._unswept_tokens += tokens
        if self._unswept_tokens > CLEAR_TOKENS:
            self._unswept_tokens = 0
            mx.clear_cache()

    def _draw(self, group: list[Sequence], logits: mx.array) -> list[Drawn]:
        """Next tokens; whoever was paused has its drawn already."""
        drawn = [(s, *s.pending) for s in group if s.pending is not None]
        rows = [row for row, s in enumerate(group) if s.pending is None]
        if len(rows) == len(group):
            return self._draw_first(group, logits)
        if rows:
            drawn += self._draw_first([group[row] for row in rows], logits[mx.array(rows)])
        return drawn

    def _draw_first(self, group: list[Sequence], logits: mx.array) -> list[Drawn]:
        """First tokens, all in one call; if that fails, one by one to see whose fault it is."""
        try:
            return first_tokens(group, logits)
        except Exception:
            log.exception("sampling %d first tokens failed", len(group))
        drawn = []
        for row, sequence in enumerate(group):
            try:
                drawn += first_tokens([sequence], logits[row : row + 1])
            except Exception as failure:
                log.exception("sampling for %s failed", sequence.request)
                self._lose(sequence, failure, "sampling")
        return drawn
