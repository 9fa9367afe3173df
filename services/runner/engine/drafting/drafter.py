"""The model that guesses: it reads along with one answer, and says what may come next."""

import time
from collections.abc import Sequence as Run
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from services.runner.engine.batching.pace import TELLING, Pace
from services.runner.engine.batching.sampling import Sampler
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.radix_cache import RadixCache
from services.runner.engine.loading import LoadedModel

AT_ONCE = 16
"""Tokens that it is behind which the next guess reads on its way."""
CHUNK_S = 0.060
"""What reading further may take of a step, on top of what its pass costs: a gap in the answer that
nobody minds."""


class Drafter:
    """Belongs to the model's thread. What it has read of earlier answers is found again."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.card = loaded.card
        self._model = loaded.model
        self._vocab_size = loaded.vocab_size
        self._pace = Pace()
        self._number: int | None = None
        """Of the sequence that it reads along with."""
        self._sequence: Sequence | None = None
        self._said: list[int] = []
        self._cache: Cache = []
        self._read = 0
        """Tokens of the answer and its prompt that its KV cache holds; all of them were said."""
        self._prefixes = RadixCache(self._model, 0)

    @property
    def nbytes(self) -> int:
        return self._prefixes.stats().used_bytes + int(sum(layer.nbytes for layer in self._cache))

    def resize(self, limit_bytes: int) -> None:
        """Of what it keeps of earlier answers."""
        self._prefixes.resize(limit_bytes)

    def forget(self) -> None:
        """All that it has read."""
        limit_bytes = self._prefixes.stats().limit_bytes
        self.resize(0)
        self.resize(limit_bytes)
        self._sit_idle()

    def warm(self) -> None:
        """Passes of no answer's, by which its pace is known."""
        for _ in range(2):
            self._cache, self._read = make_prompt_cache(self._model), 0
            self._timed([0] * TELLING)
        self._sit_idle()

    def can_read(self, length: int) -> bool:
        """So many tokens."""
        return length <= self.card.context_length

    def follow(self, number: int, sequence: Sequence, said: list[int]) -> None:
        """Read along with this one from now on. ``said`` are its tokens, and grows with them."""
        if self._number != number:
            self.leave()
            self._number, self._sequence, self._said = number, sequence, said
            self._cache, self._read = self._prefixes.fetch(sequence.prefix_key(said))

    def leave(self) -> None:
        """Keep what was read for whoever goes on from there."""
        if self._sequence is not None and self._read:
            key = self._sequence.prefix_key(self._said[: self._read])
            self._prefixes.insert(key, self._cache)
        self._sit_idle()

    def _sit_idle(self) -> None:
        self._number, self._sequence = None, None
        self._said, self._cache, self._read = [], [], 0

    def is_at(self, number: int) -> bool:
        return self._number == number

    @property
    def reading_s(self) -> float:
        """What it would take until it is where the answer is."""
        behind = len(self._said) - self._read
        return self._pace.cost_s(behind) if behind > AT_ONCE else 0.0

    def catch_up(self) -> bool:
        """Reads further; true when it is far enough to guess."""
        behind = len(self._said) - self._read
        if behind > AT_ONCE:
            seconds = CHUNK_S + self._pace.pass_s(self._read)
            count = min(behind, self._pace.tokens(seconds, self._read, behind))
            self._timed(self._said[self._read : self._read + count])
            behind -= count
        return behind <= AT_ONCE

    def _timed(self, tokens: list[int]) -> None:
        started, context = time.perf_counter(), self._read
        self._pass(tokens)
        mx.eval([layer.state for layer in self._cache])
        self._pace.learn(len(tokens), context, time.perf_counter() - started)

    def guess(self, pending: int, draws: Run[Sampler], width: int) -> list[int]:
        """One token for each draw, of those that come after ``pending``, which follows what was
        said. ``width``: of the logits that the draws are made from.
        """
        unread = mx.array([*self._said[self._read :], pending], dtype=mx.uint32)
        guesses: list[mx.array] = []
        for draw in draws:
            logits = _fitted(self._pass(unread), width)
            token = draw(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
            mx.async_eval(token)
            guesses.append(token)
            unread = token
        tokens: Any = [guess.item() for guess in guesses]
        return list(tokens)

    def settle(self, said: int) -> None:
        """So many tokens turned out to be true; what it read beyond them it did not."""
        if self._read > said:
            for layer in self._cache:
                layer.trim(self._read - said)
            self._read = said

    def _pass(self, tokens: list[int] | mx.array) -> mx.array:
        """Logits [1, vocabulary] of the last one."""
        # What no tokenizer means may be beyond its rows; it only guesses badly after that.
        tokens = mx.minimum(mx.array(tokens), self._vocab_size - 1)
        logits: mx.array = self._model(tokens[None], cache=self._cache)
        self._read += tokens.size
        return logits[:, -1]


def _fitted(logits: mx.array, width: int) -> mx.array:
    """Some sizes of a family have more rows behind the vocabulary than others."""
    missing = width - logits.shape[-1]
    if missing > 0:
        return mx.pad(logits, [(0, 0), (0, missing)], constant_values=-mx.inf)
    return logits[:, :width]
