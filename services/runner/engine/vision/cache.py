"""KV caches that know how far a sequence's positions are from the number of its tokens.

mlx-lm's batch keeps the rows of its caches together whatever joins or leaves, so the
number travels with them. One layer's cache carries it for all.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models import cache as mlx_lm_cache
from mlx_lm.models.cache import BatchKVCache, KVCache

Cache = list[Any]
"""One a layer."""


class ShiftedCache(KVCache):
    def __init__(self) -> None:
        super().__init__()
        self.shift = 0

    @classmethod
    def merge(cls, caches: list["ShiftedCache"]) -> "BatchShiftedCache":
        merged = BatchShiftedCache([0] * len(caches))
        if any(cache.size() for cache in caches):
            merged = BatchShiftedCache.merge(caches)
        merged.shifts = mx.array([cache.shift for cache in caches])
        return merged


class BatchShiftedCache(BatchKVCache):
    def __init__(self, left_padding: list[int]) -> None:
        super().__init__(left_padding)
        self.shifts = mx.zeros(len(left_padding), mx.int32)

    def filter(self, batch_indices: Any) -> None:
        super().filter(batch_indices)
        self.shifts = self.shifts[batch_indices]

    def extend(self, other: "BatchShiftedCache") -> None:
        super().extend(other)
        self.shifts = mx.concatenate([self.shifts, other.shifts])

    def extract(self, idx: int) -> ShiftedCache:
        plain, one = super().extract(idx), ShiftedCache()
        one.keys, one.values, one.offset = plain.keys, plain.values, plain.offset
        one.shift = int(self.shifts[idx])
        return one


def batchable(made: Cache, is_shifted: bool) -> Cache:
    """mlx-vlm's caches as those of mlx-lm that they are made after.

    Raises NotImplementedError for one that mlx-lm's batch does not know.
    """
    caches = [_batchable(layer) for layer in made]
    if is_shifted:
        caches[0] = ShiftedCache()
    return caches


def _batchable(layer: Any) -> Any:
    kind = type(layer).__name__
    if kind == "KVCache":
        return KVCache()
    if kind == "RotatingKVCache":
        return mlx_lm_cache.RotatingKVCache(max_size=layer.max_size, keep=layer.keep)
    raise NotImplementedError(f"a {kind} cannot be batched yet")


def positions(layer: Any, length: int) -> mx.array:
    """[3, rows, length]: those of the next tokens, as text counts them."""
    is_batch = isinstance(layer, BatchShiftedCache)
    at = layer.offset + layer.shifts if is_batch else mx.array([layer.offset + layer.shift])
    return mx.broadcast_to(at[None, :, None] + mx.arange(length), (3, at.size, length))


def shift(layer: Any, shifts: list[int]) -> None:
    """Say it of the sequences that a cache holds."""
    if isinstance(layer, BatchShiftedCache):
        layer.shifts = mx.array(shifts)
    else:
        layer.shift = shifts[0]
