"""A position's log-probabilities as the frames carry them."""

import mlx.core as mx
import numpy as np

from proto.frames import PositionLogprobs, TokenLogprob
from services.runner.engine.text import Pieces


def position(row: mx.array, token: int, alternatives: int, pieces: Pieces) -> PositionLogprobs:
    """``row`` is one position's whole distribution, evaluated already."""
    values = np.asarray(row if row.dtype == mx.float32 else row.astype(mx.float32))

    def entry(id: int) -> TokenLogprob:
        return TokenLogprob(id, pieces[id], float(values[id]))

    return PositionLogprobs(
        entry(token), tuple(entry(int(id)) for id in _likeliest(values, alternatives))
    )


def _likeliest(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", count: int) -> "Ids":
    """Fewer than ``count`` where a grammar leaves fewer: what cannot be has no logarithm."""
    count = min(count, len(values))
    if count == 0:
        return np.empty(0, np.intp)
    candidates = np.argpartition(values, -count)[-count:]
    candidates = candidates[np.isfinite(values[candidates])]
    return candidates[np.argsort(-values[candidates], kind="stable")]


Ids = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
