"""From a request's sampling to what mlx-lm calls a sampler and logits processors."""

import random
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import (
    apply_min_p,
    apply_top_k,
    apply_top_p,
    greedy_sampler,
    make_frequency_penalty,
    make_logits_processors,
    make_presence_penalty,
)

from proto.errors import Code, MeshError
from proto.generation import Sampling

Sampler = Callable[[mx.array], mx.array]
"""Log-probabilities [rows, vocabulary] to one token a row."""
Processor = Callable[[mx.array, mx.array], mx.array]
"""Tokens so far, the prompt's included, and logits [1, vocabulary] to logits."""

WHOLE = 1 << 30
"""A penalty's window: all there is. mlx-lm's default is the last 20 tokens."""
SEEDS, WORD = 1 << 64, 1 << 32
"""Of a seed, and of the half of a key."""


def check(sampling: Sampling, vocab_size: int) -> None:
    """Raises MeshError for what only the model can tell is wrong."""
    for id in sampling.logit_bias:
        if not 0 <= id < vocab_size:
            raise MeshError(
                Code.INVALID_REQUEST,
                f"token {id} is not among the model's {vocab_size}",
                param="logit_bias",
            )


def sampler(sampling: Sampling, vocab_size: int, drawn: int = 0) -> Sampler:
    """Equal requests without a seed share one object: a batch then samples in a single call.

    ``drawn`` tokens were drawn before, by an engine that was lost.
    """
    if sampling.temperature == 0:
        return greedy
    top_k = sampling.top_k if sampling.top_k < vocab_size else 0
    if sampling.seed is None:
        return _unseeded(sampling.temperature, top_k, sampling.top_p, sampling.min_p)
    return _Seeded(
        sampling.seed,
        lambda logprobs: _tempered(
            logprobs, sampling.temperature, top_k, sampling.top_p, sampling.min_p
        ),
        drawn,
    )


def processors(sampling: Sampling, prompt_tokens: int) -> list[Processor]:
    """Presence and frequency count the answer alone, repetition the prompt as well."""
    repetition = sampling.repetition_penalty
    made: list[Processor] = make_logits_processors(
        logit_bias=sampling.logit_bias or None,
        repetition_penalty=None if repetition == 1 else repetition,
        repetition_context_size=WHOLE,
    )
    if sampling.presence_penalty:
        penalty = make_presence_penalty(sampling.presence_penalty, WHOLE)
        made.append(_on_answer(penalty, prompt_tokens))
    if sampling.frequency_penalty:
        penalty = make_frequency_penalty(sampling.frequency_penalty, WHOLE)
        made.append(_on_answer(penalty, prompt_tokens))
    return made


greedy: Sampler = greedy_sampler


def draws_ahead(sampler: Sampler, count: int) -> list[Sampler]:
    """Its next draws, without making them: each may be made again and again, from whatever
    log-probabilities, and comes by the same chance. ``drew`` says how many of them counted.
    """
    if isinstance(sampler, _Seeded):
        return [partial(sampler.draw, sampler.drawn + number) for number in range(count)]
    if isinstance(sampler, _Unseeded):
        return [partial(_raced, key=_any_key(), shape=sampler.shape) for _ in range(count)]
    return [sampler] * count


def drew(sampler: Sampler, count: int) -> None:
    """So many of the draws ahead were made for good."""
    if isinstance(sampler, _Seeded):
        sampler.drawn += count


class _Unseeded:
    def __init__(self, shape: Sampler) -> None:
        self.shape = shape

    def __call__(self, logprobs: mx.array) -> mx.array:
        return mx.random.categorical(self.shape(logprobs))


@lru_cache(maxsize=256)
def _unseeded(temperature: float, top_k: int, top_p: float, min_p: float) -> Sampler:
    return _Unseeded(lambda logprobs: _tempered(logprobs, temperature, top_k, top_p, min_p))


class _Seeded:
    """Draws with keys of its own, so that its neighbours in a batch change nothing.

    Each follows from the seed and the number of the draw: none needs those before it.
    """

    def __init__(self, seed: int, shape: Sampler, drawn: int) -> None:
        base: Any = mx.random.split(mx.random.key(seed % SEEDS))[0].tolist()
        self._high, self._low = base
        self.drawn = drawn
        self._shape = shape

    def __call__(self, logprobs: mx.array) -> mx.array:
        self.drawn += 1
        return self.draw(self.drawn - 1, logprobs)

    def draw(self, number: int, logprobs: mx.array) -> mx.array:
        key = mx.array([self._high, (self._low + number) % WORD], dtype=mx.uint32)
        return _raced(logprobs, key, self._shape)


def _any_key() -> mx.array:
    return mx.array([random.getrandbits(32), random.getrandbits(32)], dtype=mx.uint32)


def _raced(logprobs: mx.array, key: mx.array, shape: Sampler) -> mx.array:
    # Not mx.random.categorical: it walks the summed probabilities, where the rounding of
    # another batch size can tip a draw over any border between two tokens. A race of noisy
    # scores is tipped only if its two leaders tie.
    noise = mx.random.gumbel(logprobs.shape, key=key)
    return mx.argmax(shape(logprobs) + noise, axis=-1)


def _tempered(
    logprobs: mx.array, temperature: float, top_k: int, top_p: float, min_p: float
) -> mx.array:
    """The distribution to draw from: temperature first, then every cut-off on what it made."""
    if temperature != 1:
        logprobs = logprobs * (1 / temperature)
    if top_k:
        logprobs = apply_top_k(logprobs, top_k)
    if top_p < 1:
        logprobs = apply_top_p(logprobs, top_p)
    if min_p:
        logprobs = apply_min_p(logprobs, min_p)
    return logprobs


def _on_answer(penalty: Processor, prompt_tokens: int) -> Processor:
    return lambda tokens, logits: penalty(tokens[prompt_tokens:], logits)
