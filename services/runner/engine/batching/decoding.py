"""The decoding batch: mlx-lm's BatchGenerator, joined without a forward pass of one's own.

BatchGenerator takes a newcomer in by a pass for it alone, which costs as much as
a step of the whole batch. Here the first token is drawn with the prompt already,
so that a newcomer simply takes part in the next step.
"""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.generate import BatchGenerator, GenerationBatch, StopSequences
from mlx_lm.sample_utils import greedy_sampler

from services.runner.engine.batching.chunk import merged
from services.runner.engine.batching.drawing import Drawn
from services.runner.engine.batching.sampling import Sampler
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.constraints.guide import Guide
from services.runner.engine.constraints.masks import GuidedModel, Rows

Response = GenerationBatch.Response


class _Newcomers(GenerationBatch):
    """Sequences whose first token waits to be the next step's input."""

    def _step(self) -> tuple[list[int], list[mx.array]]:
        return [], []


class Decoder:
    """Decodes one token of every sequence a step. Sequences are named by a number of its own."""

    def __init__(self, model: Module, ends: Iterable[int], slots: int) -> None:
        self._model = model
        self._stops = StopSequences([[token] for token in ends])
        self._generator = BatchGenerator(
            model, completion_batch_size=slots, prefill_batch_size=slots
        )
        # Only the batch that decodes is guided: prompts are read elsewhere.
        self._generator._generation_batch.model = GuidedModel(model, self._rows)
        self._guides: dict[int, Guide] = {}
        """Of those that are guided."""
        self._joined: set[int] = set()
        """Those whose next response is the first token, which is known already."""
        self._last = -1

    @property
    def stream(self) -> mx.Stream:
        stream: mx.Stream = self._generator.stream
        return stream

    @property
    def numbers(self) -> list[int]:
        """Of the sequences in the batch, in the order of its rows."""
        uids: list[int] = self._generator._generation_batch.uids
        return uids

    def close(self) -> None:
        self._generator.close()

    def join(self, drawn: list[Drawn]) -> list[int]:
        """Take sequences into the batch, each with its first token; their numbers."""
        sequences = [sequence for sequence, _, _ in drawn]
        numbers = [self._last + 1 + i for i in range(len(drawn))]
        self._last = numbers[-1]
        newcomers = _Newcomers(
            self._model,
            numbers,
            mx.array([token for _, token, _ in drawn], dtype=mx.uint32),
            merged([sequence.held for sequence in sequences]),
            [list(sequence.prompt) for sequence in sequences],
            self._samplers(numbers, sequences),
            greedy_sampler,
            [sequence.processors for sequence in sequences],
            [self._stops] * len(drawn),
            [sequence.tokens_left for sequence in sequences],
        )
        newcomers._next_logprobs = [row for _, _, row in drawn]
        self._generator._generation_batch.extend(newcomers)
        self._joined.update(numbers)
        for number, sequence in zip(numbers, sequences, strict=True):
            if sequence.guide is not None:
                self._guides[number] = sequence.guide
        return numbers

    def _samplers(self, numbers: list[int], sequences: list[Sequence]) -> list[Sampler]:
        """Those that newcomers draw by."""
        return [sequence.sampler for sequence in sequences]

    def _rows(self) -> Rows | None:
        if not self._guides:
            return None
        drawn = self._generator._generation_batch._current_tokens
        return Rows([self._guides.get(number) for number in self.numbers], drawn)

    @property
    def owes_step(self) -> bool:
        """The next step was promised: it comes before the batch is changed in any way."""
        return False

    def step(self, *, may_promise: bool = False) -> list[Response]:
        """One more token of each sequence, or several; a newcomer's first was known before.

        ``may_promise``: nobody waits for the batch to change before the step after this one.
        """
        responses = self._advance()
        self._forget(response.uid for response in responses if response.finish_reason)
        if not self._joined:
            return responses
        later = []
        for response in responses:
            if response.uid in self._joined:
                self._joined.discard(response.uid)
            else:
                later.append(response)
        return later

    def _advance(self) -> list[Response]:
        responses: list[Response] = self._generator.next()[1]
        return responses

    def is_newcomer(self, number: int) -> bool:
        """It has made no step yet."""
        return number in self._joined

    def pending(self, number: int, with_row: bool) -> tuple[int, mx.array]:
        """The token that the next step of one who is no newcomer will give, and the
        log-probabilities that it was drawn from, or as good as nothing: a copy as long as the
        vocabulary, for what may wait long.
        """
        batch = self._generator._generation_batch
        row = batch.uids.index(number)
        token: Any = batch._next_tokens[row].item()
        kept = batch._next_logprobs[row] + 0 if with_row else mx.zeros(1)
        mx.eval(kept)
        return token, kept

    @property
    def nbytes(self) -> int:
        """Of all its KV caches."""
        return int(self._generator.prompt_cache_nbytes)

    def leave(self, numbers: list[int]) -> dict[int, tuple[Cache, list[int]]]:
        """Out of the batch; each one's KV cache and the tokens that it holds."""
        self._joined.difference_update(numbers)
        self._forget(numbers)
        left: Any = self._generator.remove(numbers, return_prompt_caches=True)
        return {number: (cache, tokens) for number, (cache, tokens) in left.items()}

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._guides.pop(number, None)
