"""The logits of a whole step under the guides of its rows.

One mask for all rows, made while the model's pass is still running: a free row
beside a guided one costs nothing but its part of one ``where``.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from llguidance import LLExecutor, LLMatcher
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par
from mlx.nn.layers.base import Module
from numpy.typing import NDArray

from services.runner.engine.constraints.guide import Demand, Guide

log = logging.getLogger(__name__)

Bits = NDArray[np.int32]
"""A row for each sequence, a bit for each token."""
WORD = 32
ALL = -1
"""A word that allows all of its tokens."""
PARALLEL = 4
"""From so many grammars on, threads are worth waking."""
NEVER = -float("inf")


class Rows(NamedTuple):
    """A step's rows, in their order."""

    guides: Sequence[Guide | None]
    drawn: mx.array
    """The tokens drawn last, which are the step's input."""


class GuidedModel:
    """A model as a decoding batch sees it, whose logits obey the guides of its rows.

    Penalties come later than the mask, which makes no difference: what is
    infinitely unlikely stays so.
    """

    def __init__(self, model: Module, rows: Callable[[], Rows | None]) -> None:
        """``rows`` tells of the step's rows; None where nobody is guided."""
        self._model = model
        self._rows = rows

    def __call__(self, inputs: mx.array, **rest: Any) -> mx.array:
        logits: mx.array = self._model(inputs, **rest)
        rows = self._rows()
        if rows is None:
            return logits
        # In this order: an array can be read when all that was started with it is done.
        mx.async_eval(rows.drawn)
        mx.async_eval(logits)
        drawn: Any = rows.drawn.tolist()
        for guide, token in zip(rows.guides, drawn, strict=True):
            if guide is not None:
                follow(guide, token)
        return masked(logits, rows.guides)


def follow(guide: Guide, token: int) -> None:
    """A token was drawn. What goes wrong is the guide's trouble."""
    try:
        guide.advance(token)
    except Exception:
        log.exception("following an answer failed")
        guide.trouble = "the engine could not follow it"


def masked(logits: mx.array, guides: Sequence[Guide | None]) -> mx.array:
    """Logits [rows, ..., vocabulary], those of tokens that may not come next at minus infinity."""
    demands = [
        (row, guide, demand)
        for row, guide in enumerate(guides)
        if guide is not None and guide.trouble is None and (demand := guide.demand()) is not None
    ]
    if not demands:
        return logits
    bits = np.full((len(guides), -(-demands[0][1].width // WORD)), ALL, np.int32)
    _match([(matcher, row) for row, _, demand in demands for matcher in demand.matchers[:1]], bits)
    for row, guide, demand in demands:
        _complete(bits[row], demand)
        if trouble := next((m.get_error() for m in demand.matchers if m.is_error()), None):
            guide.trouble = trouble.partition("\n")[0]
            bits[row] = ALL
    return _applied(logits, bits)


def _match(matchers: list[tuple[LLMatcher, int]], bits: Bits) -> None:
    if len(matchers) < PARALLEL:
        for matcher, row in matchers:
            fill_next_token_bitmask(matcher, bits, row)
    else:
        fill_next_token_bitmask_par(_executor(), matchers, bits)


@cache
def _executor() -> LLExecutor:
    return LLExecutor()


def _complete(row: Bits, demand: Demand) -> None:
    """What is not in the first matcher's mask."""
    if demand.is_exclusive and not demand.matchers:
        row[:] = 0
    for matcher in demand.matchers[1:]:
        other = np.empty((1, len(row)), np.int32)
        fill_next_token_bitmask(matcher, other)
        row |= other[0]
    words = row.view(np.uint32)
    for token in demand.tokens:
        words[token // WORD] |= np.uint32(1 << token % WORD)
    for token in demand.barred:
        words[token // WORD] &= np.uint32(~(1 << token % WORD) & 0xFFFFFFFF)


def _applied(logits: mx.array, bits: Bits) -> mx.array:
    # Made anew each time: an array of another thread's stream cannot be used on this one.
    words, shifts = mx.array(bits.view(np.uint32)), mx.arange(WORD, dtype=mx.uint32)
    allowed = ((words[..., None] >> shifts) & 1).astype(mx.bool_).reshape(len(bits), -1)
    width = logits.shape[-1]
    if allowed.shape[-1] < width:  # Rows that no token has, at the end of a padded vocabulary.
        allowed = mx.pad(allowed, [(0, 0), (0, width - allowed.shape[-1])])
    return mx.where(allowed[:, :width].reshape(logits.shape), logits, NEVER)
