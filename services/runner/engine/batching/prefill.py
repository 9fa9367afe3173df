"""Reading prompts: which one next, how much of it at once, and the pass through the model.

mlx-lm's own prompt batches make a short prompt wait for a long one beside it,
and stop the running streams meanwhile; so prompts are read here, in chunks
between two decode steps.
"""

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Run
from dataclasses import dataclass

import mlx.core as mx
from mlx.nn.layers.base import Module

from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.queueing.queue import Rank
from services.runner.engine.vision.picture import Picture

BUSY_S = 0.060
"""What a chunk may cost at least while streams are decoding: a gap that nobody minds."""
IDLE_S = 0.5
"""What it may cost when nothing decodes: cancels, arrivals and the step clock wait that long."""
FIRST_RATE = 64.0
"""Tokens a second assumed before anything is measured: too few rather than too many."""
SMALLEST, LARGEST = 16, 2048 if mx.metal.is_available() else 512
"""Tokens of a chunk. Below, a pass is all overhead; above, attention takes too much memory, and
on a CPU falls out of its caches: chunks of 2,048 read a prompt of 6,000 a fourth slower."""
NEAR = 512
"""Up to this context, attention costs next to nothing beside the rest of the model."""
LEARNING = 0.5
"""Weight of the latest chunk in the measured rate."""
OWED_TIMES = 4
"""A key with so many times fewer requests than the average one is owed a large part of a step,"""
OWED_S, OWED_STEPS = 0.120, 6
"""which is so long, or so many times as long as the decode step after it."""
TELLING = 128
"""Tokens of a chunk that tell how fast prompts are read; fewer are mostly overhead."""
OLDEST_EVERY = 4
"""One chunk in so many goes to the prompt that arrived first, whatever its length."""
WASTE = 0.25
"""Most padding in a batch of prompts."""
SHARED = 32
"""Prompts that agree on so many unread tokens are not read twice side by side."""
HEAD_TOKENS = 96
"""Up to here, logits of all tokens cost less than a second pass for the last one alone."""
CLEAR_TOKENS = 4096
"""mlx's buffer cache grows with every new chunk size; so often it is emptied."""


def share_s(reading: int, decoding: int, step_s: float, *, is_owed: bool = False) -> float:
    """How long a chunk may take: two decode steps, more when more is read than decoded.

    A pass costs a decode step before it reads its first token, so a chunk of one
    step would be all overhead. Many prompts beside one answer are not held up by
    it: an early batch of one is the dearest way to decode. ``is_owed``: the prompt
    is of a key that has next to nothing of the engine beside those who decode, so
    it is read nearly as fast as if they were not there.
    """
    if not decoding:
        return IDLE_S
    if is_owed:
        return min(IDLE_S, max(OWED_S, OWED_STEPS * step_s))
    return min(IDLE_S, max(BUSY_S, 2 * step_s) * max(1.0, reading / decoding))


def is_owed(sequence: Sequence, decoding: Run[Sequence]) -> bool:
    """Whether its key decodes so much less than the average key that it need not wait for them."""
    counts = Counter(each.share for each in decoding)
    own = 1 + counts[sequence.share]
    return len(decoding) >= OWED_TIMES * own * len(counts | {sequence.share: 1})


class Pace:
    """How many tokens a chunk may have, learned from what chunks cost.

    A token costs more the more there is before it to attend to, so a rate is
    kept for each doubling of the context.
    """

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}
        self.tokens_per_s = 0.0
        """Of late, whatever the context; zero before a chunk that was more than overhead."""

    def tokens(self, seconds: float, context: int) -> int:
        """``context``: the tokens in front of the chunk."""
        return max(SMALLEST, min(LARGEST, int(self._rate(_doublings(context)) * seconds)))

    def cost_s(self, tokens: int) -> float:
        """What that many tokens would take from the start."""
        return tokens / self._rate(0)

    def learn(self, tokens: int, context: int, seconds: float) -> None:
        doublings = _doublings(context)
        before = self._rate(doublings)
        rate = tokens / max(seconds, 1e-6)
        self._rates[doublings] = before + LEARNING * (rate - before)
        if tokens >= TELLING:
            known = self.tokens_per_s or rate
            self.tokens_per_s = known + LEARNING * (rate - known)

    def _rate(self, doublings: int) -> float:
        """Where it was never measured: half of the next shorter context's for each doubling."""
        known = max((met for met in self._rates if met <= doublings), default=None)
        if known is None:
            return FIRST_RATE
        return self._rates[known] / (1 << (doublings - known))


def _doublings(context: int) -> int:
    return (context // NEAR).bit_length()


def choose(
    waiting: Run[Sequence],
    budget_of: Callable[[Sequence], int],
    turn: int,
    rank: Callable[[Sequence], Rank],
) -> tuple[list[Sequence], int]:
    """Who is read next, and how far: one prompt, or several that end in one padded batch.

    The key of the lowest rank has its turn. Of its prompts the one with the
    shortest remainder goes first, but every ``OLDEST_EVERY``-th turn is the
    oldest's: a short one never waits behind another's thousands of tokens, and
    a long one always gets its quarter. ``waiting`` is in order of arrival;
    ``budget_of`` says how many tokens a chunk may have that begins with one.
    """
    by_length = sorted(waiting, key=lambda sequence: sequence.remaining)
    lowest = min(map(rank, waiting))
    in_order = waiting if turn % OLDEST_EVERY == 0 else by_length
    first = next(sequence for sequence in in_order if rank(sequence) == lowest)
    budget = budget_of(first)
    group, openings = [first], {_opening(first)}
    if first.remaining <= budget:
        for other in by_length:
            opening = _opening(other)
            is_shared = opening is not None and opening in openings
            if other is not first and not is_shared and _fits([*group, other], budget):
                group.append(other)
                openings.add(opening)
    return group, budget


def _fits(group: list[Sequence], budget: int) -> bool:
    return (
        len(group) * max(sequence.remaining for sequence in group) <= budget
        and _is_dense([sequence.remaining for sequence in group])
        and _is_dense([len(sequence.prompt) for sequence in group])
    )


def _is_dense(lengths: list[int]) -> bool:
    return sum(lengths) >= (1 - WASTE) * max(lengths) * len(lengths)


def _opening(sequence: Sequence) -> tuple[int, ...] | None:
    """Its next tokens. Who has the same finds them in the prefix cache a chunk later."""
    if sequence.remaining <= SHARED:
        return None
    return tuple(sequence.prefix_key(sequence.prompt)[sequence.done : sequence.done + SHARED])


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


def read(model: Module, chunk: Chunk) -> mx.array | None:
    """Runs the chunk, whose pictures were looked at; the sequences' caches hold it then.

    Logits [sequences, vocabulary] of the prompts' last tokens if the chunk ends them.
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
