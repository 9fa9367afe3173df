"""One vector of a row's token states."""

from collections.abc import Callable

import mlx.core as mx

from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.recipe import Pooling

_LEAST = 1e-12
"""A vector of zeros has no direction; it stays what it is."""


def pooled(states: mx.array, page: Page, ways: tuple[Pooling, ...]) -> mx.array:
    """Rows by size; ``states`` are rows by width by size. In float32, whatever the model is in."""
    states = states.astype(mx.float32)
    return mx.concatenate([_WAYS[way](states, page) for way in ways], axis=-1)


def normalized(vectors: mx.array) -> mx.array:
    """Of length 1."""
    return vectors / mx.maximum(mx.linalg.norm(vectors, axis=-1, keepdims=True), _LEAST)


def last(states: mx.array, page: Page) -> mx.array:
    """The state of each row's last token."""
    place = (page.lengths - 1)[:, None, None]
    return mx.take_along_axis(states, place, axis=1).squeeze(1)


def _first(states: mx.array, page: Page) -> mx.array:
    return states[:, 0]


def _mean(states: mx.array, page: Page) -> mx.array:
    return _sum(states, page) / page.lengths[:, None]


def _mean_by_root(states: mx.array, page: Page) -> mx.array:
    return _sum(states, page) / mx.sqrt(page.lengths[:, None])


def _sum(states: mx.array, page: Page) -> mx.array:
    return (states * page.mask[..., None]).sum(axis=1)


def _weighted_mean(states: mx.array, page: Page) -> mx.array:
    """The later a token, the more it counts."""
    weights = page.mask * mx.arange(1, page.width + 1)[None]
    return (states * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True)


def _highest(states: mx.array, page: Page) -> mx.array:
    return mx.where(page.mask[..., None], states, -mx.inf).max(axis=1)


_WAYS: dict[Pooling, Callable[[mx.array, Page], mx.array]] = {
    "cls": _first,
    "mean": _mean,
    "max": _highest,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": last,
}
