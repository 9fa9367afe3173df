"""First tokens: drawn from the logits that the last chunk of a prompt ends with.

Whose answer another engine began has its own drawn already; the draw then counts as that one's.
"""

from typing import Any

import mlx.core as mx

from services.runner.engine.batching.sampling import Sampler
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.constraints.masks import masked

Drawn = tuple[Sequence, int, mx.array]
"""A sequence, its first token, and the log-probabilities that it was drawn from."""


def first_tokens(group: list[Sequence], logits: mx.array) -> list[Drawn]:
    """As the decoding batch draws all later ones; one call where everybody samples alike."""
    logits = masked(logits, [sequence.guide for sequence in group])
    if any(sequence.processors for sequence in group):
        rows = [_processed(s, logits[row : row + 1]) for row, s in enumerate(group)]
        logits = mx.concatenate(rows, axis=0)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    drawn = draw([sequence.sampler for sequence in group], logprobs)
    rows = list(logprobs)
    mx.eval(drawn, rows)
    tokens: Any = drawn.tolist()
    return [
        (sequence, token if sequence.forced is None else sequence.forced, row)
        for sequence, token, row in zip(group, tokens, rows, strict=True)
    ]


def draw(samplers: list[Sampler], logprobs: mx.array) -> mx.array:
    """A token for each row [rows, vocabulary], by the row's sampler."""
    if all(sampler is samplers[0] for sampler in samplers):
        return samplers[0](logprobs)
    return mx.concatenate([s(logprobs[i : i + 1]) for i, s in enumerate(samplers)])


def _processed(sequence: Sequence, logits: mx.array) -> mx.array:
    if sequence.processors:
        tokens = mx.array(sequence.prompt)
        for processor in sequence.processors:
            logits = processor(tokens, logits)
    return logits
