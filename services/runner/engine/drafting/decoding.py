"""A decoding batch in which one answer alone goes several tokens a step.

Between two steps it is as any batch is: each KV cache holds what was said, the token after it is
drawn. So whoever comes, leaves, pauses or goes on elsewhere finds what plain decoding leaves.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.generate import GenerationBatch

from services.runner.engine.batching.decoding import Decoder, Response
from services.runner.engine.batching.drawing import Drawn
from services.runner.engine.batching.sampling import Sampler, draws_ahead, drew, greedy
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.constraints.masks import follow, masked
from services.runner.engine.drafting.drafter import Drafter
from services.runner.engine.drafting.worth import Worth

CLEAR_PASSES = 512
"""mlx's buffer cache grows with every new size; so often it is emptied."""

log = logging.getLogger(__name__)


class Count:
    """Of guesses, since boot."""

    def __init__(self) -> None:
        self.guessed = 0
        self.accepted = 0


class DraftingDecoder(Decoder):
    """Guesses where one sequence decodes and it pays; decodes plainly otherwise."""

    def __init__(
        self,
        model: Module,
        ends: Iterable[int],
        slots: int,
        width: int,
        drafter: Drafter,
        worth: Worth,
        count: Count,
    ) -> None:
        """``width``: of the model's logits."""
        super().__init__(model, ends, slots)
        self._width = width
        self._ends = frozenset(ends)
        self._drafter = drafter
        self._worth = worth
        self._count = count
        self._sequences: dict[int, Sequence] = {}
        self._lap: tuple[str, float] | None = None
        """What was done last, and when it was; None: something else came between."""
        self._alone: tuple[int, float] | None = None
        """The only sequence, and since when it is."""
        self._passes = 0
        self.can_guess = True
        """False once the draft has failed."""

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._drafter.nbytes

    @property
    def _batch(self) -> GenerationBatch:
        batch: GenerationBatch = self._generator._generation_batch
        return batch

    def join(self, drawn: list[Drawn]) -> list[int]:
        numbers = super().join(drawn)
        self._sequences.update(zip(numbers, (s for s, _, _ in drawn), strict=True))
        self.disturb()
        return numbers

    def _forget(self, numbers: Iterable[int]) -> None:
        numbers = list(numbers)
        super()._forget(numbers)
        for number in numbers:
            del self._sequences[number]
            if self._drafter.is_at(number):
                self._drafter.leave()

    def disturb(self) -> None:
        """Something else is done between two steps: the time until the next tells nothing."""
        self._lap = None

    def _advance(self) -> list[Response]:
        if len(self.numbers) != 1:
            self.disturb()
            self._alone = None
            return super()._advance()
        if self._alone is None or self._alone[0] != self.numbers[0]:
            self._alone = (self.numbers[0], time.perf_counter())
        ahead = self._ahead()
        if ahead and (guesses := self._guess(ahead)) is not None:
            return self._checked(*guesses)
        responses = super()._advance()
        self._worth.learn_plain(self._lap_s("plain"))
        return responses

    def _lap_s(self, what: str) -> float | None:
        """Since the same was done last; None: the one before was another thing, which leaves
        more or less to be computed.
        """
        now = time.perf_counter()
        before, self._lap = self._lap, (what, now)
        return now - before[1] if before is not None and before[0] == what else None

    # Guessing

    def _ahead(self) -> int:
        """Tokens to guess now for the only sequence."""
        batch, number = self._batch, self.numbers[0]
        sequence = self._sequences[number]
        # One of them would not be needed: the last token of an answer is not read.
        left = batch.max_tokens[0] - batch._num_tokens[0] - 1
        ahead = min(self._worth.ahead, left)
        length = len(batch.tokens[0]) + 1 + ahead
        if (
            ahead < 1
            or not self.can_guess
            or sequence.sight is not None
            or not self._drafter.can_read(length)
        ):
            return 0
        return ahead

    def _guess(self, ahead: int) -> tuple[int, list[int], list[Sampler], float] | None:
        """The pending token, guesses of those after it, the draws they came by, and the seconds
        that it took. None: the draft has to read on, or cannot.
        """
        batch, number = self._batch, self.numbers[0]
        sequence = self._sequences[number]
        started = time.perf_counter()
        try:
            self._drafter.follow(number, sequence, batch.tokens[0])
            if not self._is_worth_reading():
                return None
            if not self._drafter.catch_up():
                self.disturb()
                return None
            # Waits for what the step before computes, so not where the next one is plain anyway.
            pending: Any = batch._next_tokens[0].item()
            if pending in self._ends:
                return None
            draws = draws_ahead(sequence.sampler, ahead + 1)
            guesses = self._drafter.guess(pending, draws[:ahead], self._width)
        except Exception:
            log.exception("guessing failed, and is left from now on: answers need no draft")
            self._drafter.forget()
            self.can_guess = False
            return None
        return pending, guesses, draws, time.perf_counter() - started

    def _is_worth_reading(self) -> bool:
        """Not before an answer has taken as long as the draft would need to catch up with it: how
        long it will be nobody knows, and most that end early are spared.
        """
        assert self._alone is not None, "only for one alone is anything guessed"
        return self._drafter.reading_s <= time.perf_counter() - self._alone[1]

    # Checking

    def _checked(
        self, pending: int, guesses: list[int], draws: list[Sampler], draft_s: float
    ) -> list[Response]:
        """One pass over the pending token and the guesses; those that are what would have been
        drawn are said, and the draw after the last of them is pending then.
        """
        batch, number = self._batch, self.numbers[0]
        sequence = self._sequences[number]
        fed = [pending, *guesses]
        logits: mx.array = self._model(mx.array([fed]), cache=batch.prompt_cache)[0]
        is_stepwise = sequence.guide is not None or bool(sequence.processors)
        draw = self._drawn_in_turn if is_stepwise else self._drawn_at_once
        drawn, rows = draw(sequence, logits, fed, draws)
        accepted = self._agreed(drawn, guesses)
        drew(sequence.sampler, accepted + 1)
        for layer in batch.prompt_cache:
            layer.trim(len(guesses) - accepted)
        said_rows = [batch._next_logprobs[0], *rows[:accepted]]
        batch._next_tokens = mx.array([drawn[accepted]], dtype=mx.uint32)
        batch._next_logprobs = [rows[accepted]]
        responses = self._said(number, fed[: accepted + 1], said_rows)
        self._drafter.settle(len(responses[-1].all_tokens or batch.tokens[0]))
        self._count.guessed += len(guesses)
        self._count.accepted += accepted
        self._worth.learn_pass(len(guesses), accepted, draft_s, self._lap_s("guess"))
        self._sweep()
        return responses

    def _agreed(self, drawn: list[int], guesses: list[int]) -> int:
        """Guesses that are what was drawn, up to the end of the model's turn."""
        accepted = 0
        for token, guess in zip(drawn, guesses, strict=False):
            if token != guess:
                break
            accepted += 1
            if token in self._ends:
                break
        return accepted

    def _drawn_at_once(
        self, sequence: Sequence, logits: mx.array, fed: list[int], draws: list[Sampler]
    ) -> tuple[list[int], list[mx.array]]:
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        if sequence.sampler is greedy:
            drawn = greedy(logprobs)
        else:
            drawn = mx.concatenate([draw(logprobs[i : i + 1]) for i, draw in enumerate(draws)])
        rows = list(logprobs)
        mx.eval(drawn, rows)
        tokens: Any = drawn.tolist()
        return tokens, rows

    def _drawn_in_turn(
        self, sequence: Sequence, logits: mx.array, fed: list[int], draws: list[Sampler]
    ) -> tuple[list[int], list[mx.array]]:
        """Where a draw depends on those before it: guide and penalties hear true tokens only."""
        mx.async_eval(logits)
        context = self._batch._token_context[0]
        drawn: list[int] = []
        rows: list[mx.array] = []
        for at, token in enumerate(fed):
            row = logits[at : at + 1]
            if sequence.guide is not None:
                follow(sequence.guide, token)
                row = masked(row, [sequence.guide])
            if sequence.processors:
                tokens = context.update_and_fetch(mx.array([token]))
                for processor in sequence.processors:
                    row = processor(tokens, row)
            row = row - mx.logsumexp(row, axis=-1, keepdims=True)
            next_token = draws[at](row)
            mx.eval(next_token, row)
            found: Any = next_token.item()
            drawn.append(found)
            rows.append(row[0])
            if found != next(iter(fed[at + 1 : at + 2]), None):
                break
        return drawn, rows

    def _said(self, number: int, tokens: list[int], rows: list[mx.array]) -> list[Response]:
        """The answer's next tokens, as the batch itself would have told them one by one."""
        batch = self._batch
        batch.tokens[0].extend(tokens)
        batch._num_tokens[0] += len(tokens)
        reason = "length" if batch._num_tokens[0] >= batch.max_tokens[0] else None
        for token in tokens:
            if batch._matchers[0].advance(token):
                reason = "stop"
        responses = [
            Response(number, token, row, None, None, None)
            for token, row in zip(tokens, rows, strict=True)
        ]
        if reason is not None:
            last = responses[-1]
            last.finish_reason = reason
            last.prompt_cache, last.all_tokens = batch.extract_cache(0), batch.tokens[0]
            batch.filter([])
        return responses

    def _sweep(self) -> None:
        self._passes += 1
        if self._passes % CLEAR_PASSES == 0:
            mx.clear_cache()
