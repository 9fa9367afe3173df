"""How long a chunk of prompts may take beside answers, and how many tokens that is."""

import math
from collections import Counter
from collections.abc import Sequence as Run

import mlx.core as mx

from services.runner.engine.batching.cost import Cost
from services.runner.engine.batching.sequence import Sequence

BUSY_S = 0.060
"""What a chunk may cost at least while streams are decoding: a gap that nobody minds."""
IDLE_S = 0.5
"""What it may cost when nothing decodes: cancels, arrivals and the step clock wait that long."""
FIRST_RATE = 64.0
"""Tokens a second assumed before anything is measured: too few rather than too many."""
WARMING = 16, 64
"""Tokens of two passes of no request's, by which it is known what a pass and what a token costs."""
SMALLEST, LARGEST = 16, 2048 if mx.metal.is_available() else 512
"""Tokens of a chunk. Below, a pass is all overhead; above, attention takes too much memory, and
on a CPU falls out of its caches: chunks of 2,048 read a prompt of 6,000 a fourth slower."""
NEAR = 512
"""Up to this context, attention costs next to nothing beside the rest of the model."""
LEARNING = 0.5
"""Weight of the latest chunk in the rate that others are told."""
OWED_TIMES = 4
"""A key with so many times fewer requests than the average one is owed a large part of a step,"""
OWED_S, OWED_STEPS = 0.120, 6
"""which is so long, or so many times as long as the decode step after it."""
TELLING = 128
"""Tokens of a chunk that tell how fast prompts are read; fewer are mostly overhead."""


def share_s(
    reading: int, decoding: int, step_s: float, pass_s: float, *, is_owed: bool = False
) -> float:
    """How long a chunk may take: two decode steps, more when more is read than decoded, on top of
    what its pass costs before it reads its first token (``pass_s``).

    That part is lost by all, so chunks are not to be mostly that: smaller ones would hold up those
    who decode less at a time, and for longer altogether. Many prompts beside one answer are not
    held up by it: an early batch of one is the dearest way to decode. ``is_owed``: the prompt is of
    a key that has next to nothing of the engine beside those who decode, so it is read nearly as
    fast as if they were not there.
    """
    if not decoding:
        return IDLE_S
    if is_owed:
        return owed_s(step_s)
    return min(IDLE_S, pass_s + max(BUSY_S, 2 * step_s) * max(1.0, reading / decoding))


def owed_s(step_s: float) -> float:
    """How much of a step a prompt that is owed may take, in as many chunks as that comes to."""
    return min(IDLE_S, max(OWED_S, OWED_STEPS * step_s))


def is_owed(sequence: Sequence, decoding: Run[Sequence]) -> bool:
    """Whether its key decodes so much less than the average key that it need not wait for them."""
    counts = Counter(each.share for each in decoding)
    own = 1 + counts[sequence.share]
    return len(decoding) >= OWED_TIMES * own * len(counts | {sequence.share: 1})


class Pace:
    """How many tokens a chunk may have, learned from what chunks cost.

    A token costs more the more there is before it to attend to, so a cost is kept for each
    doubling of the context.
    """

    def __init__(self) -> None:
        self._costs: dict[int, Cost] = {}
        self.tokens_per_s = 0.0
        """Of late, whatever the context; zero before a chunk that was more than overhead."""

    def tokens(self, seconds: float, context: int, remaining: int = 0) -> int:
        """``context``: the tokens in front of the chunk; ``remaining``: those of its prompt, which
        are read to their end where the rest would cost less than the pass that it needs else.
        """
        doublings = _doublings(context)
        fitting = max(SMALLEST, min(LARGEST, int(self._tokens(seconds, doublings))))
        cost = self._costs.get(doublings)
        saved = int(cost.own_tokens) if cost else 0
        return remaining if fitting < remaining <= min(LARGEST, fitting + saved) else fitting

    def pass_s(self, context: int) -> float:
        """What a pass takes beside its tokens."""
        cost = self._costs.get(_doublings(context))
        return cost.pass_s if cost else 0.0

    def cost_s(self, tokens: int) -> float:
        """What that many tokens would take from the start."""
        cost = self._costs.get(0)
        if cost is None:
            return tokens / FIRST_RATE
        passes = math.ceil(tokens / self.tokens(IDLE_S, 0))
        return passes * cost.pass_s + tokens * cost.token_s

    def learn(self, tokens: int, context: int, seconds: float) -> None:
        self._costs.setdefault(_doublings(context), Cost()).learn(tokens, max(seconds, 1e-6))
        if tokens >= TELLING:
            rate = tokens / max(seconds, 1e-6)
            known = self.tokens_per_s or rate
            self.tokens_per_s = known + LEARNING * (rate - known)

    def _tokens(self, seconds: float, doublings: int) -> float:
        """Where it was never measured: half of the next shorter context's for each doubling."""
        known = max((met for met in self._costs if met <= doublings), default=None)
        if known is None:
            return FIRST_RATE * seconds
        return self._costs[known].tokens(seconds) / (1 << (doublings - known))


def _doublings(context: int) -> int:
    return (context // NEAR).bit_length()
