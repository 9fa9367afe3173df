"""Prompts' next tokens, and the pass that reads them."""

from dataclasses import dataclass

import mlx.core as mx
from mlx.nn.layers.base import Module

from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.vision.picture import Picture

HEAD_TOKENS = 96
"""Up to here, logits of all tokens cost less than a second pass for the last one alone."""


@dataclass(frozen=True)
class Chunk:
    """Some prompts' next tokens: part of one prompt, or all that remains of one or several."""

    sequences: list[Sequence]
    tokens: list[list[int]]

    @classmethod
    def of(cls, sequences: list[Sequence], budget: int) -> "Chunk":
        return cls(sequences, [s.prompt[s.done : s.done + budget] for s in sequences])

    @property
    def is_last(self) -> bool:
        first = self.sequences[0]
        return len(self.tokens[0]) == first.remaining

    @property
    def size(self) -> int:
        return len(self.tokens) * max(map(len, self.tokens))


def unseen(chunk: Chunk) -> tuple[Sequence, Picture] | None:
    """The first picture in the chunk that the vision tower has not taken yet, and whose it is."""
    for sequence, tokens in zip(chunk.sequences, chunk.tokens, strict=True):
        if sequence.sight is not None:
            for picture in sequence.sight.between(sequence.done, sequence.done + len(tokens)):
                if picture.rows is None:
                    return sequence, picture
    return None


def read(model: Module, chunk: Chunk, *, pass_by_pass: bool = False) -> mx.array | None:
    """Runs the chunk, whose pictures were looked at; the sequences' caches hold it then.

    Logits [sequences, vocabulary] of the prompts' last tokens if the chunk ends them. Of two passes
    mlx computes parts in any order, which ranks that send each other theirs must not:
    ``pass_by_pass``.
    """
    caches = [sequence.held for sequence in chunk.sequences]
    cache = caches[0] if len(caches) == 1 else merged(caches)
    if not chunk.is_last:
        _pass(model, chunk.sequences, chunk.tokens, cache)
        logits = None
    elif chunk.size <= HEAD_TOKENS or max(map(len, chunk.tokens)) == 1:
        logits = _pass(model, chunk.sequences, chunk.tokens, cache)
    else:
        # The logits of the first pass are never asked for, so mlx never computes them.
        _pass(model, chunk.sequences, [tokens[:-1] for tokens in chunk.tokens], cache)
        if pass_by_pass:
            mx.eval([layer.state for layer in cache])
        logits = _pass(model, chunk.sequences, [tokens[-1:] for tokens in chunk.tokens], cache)
    mx.eval(logits if logits is not None else [], [layer.state for layer in cache])
    for row, sequence in enumerate(chunk.sequences):
        if len(caches) > 1:
            sequence.cache = [layer.extract(row) for layer in cache]
    return logits


def merged(caches: list[Cache]) -> Cache:
    """Caches of one sequence each as one of a batch."""
    return [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]


def _pass(
    model: Module, sequences: list[Sequence], tokens: list[list[int]], cache: Cache
) -> mx.array:
    """One forward pass over rows of different lengths. Logits of each row's last token."""
    lengths = [len(row) for row in tokens]
    width = max(lengths)
    padding = [width - length for length in lengths]
    if width == 0:
        return mx.array([])
    if any(padding):
        for layer in cache:
            layer.prepare(lengths=lengths, right_padding=padding)
    padded = [row + [0] * gap for row, gap in zip(tokens, padding, strict=True)]
    logits: mx.array
    if any(sequence.sight for sequence in sequences):
        logits = model.see(mx.array(padded), cache, [(s.sight, s.done) for s in sequences])
    else:
        logits = model(mx.array(padded), cache=cache)
    for sequence, length in zip(sequences, lengths, strict=True):
        sequence.done += length
    if any(padding):
        for layer in cache:
            layer.finalize()
        return logits[mx.arange(len(tokens)), mx.array(lengths) - 1]
    return logits[:, -1]
