"""What the model has read already: KV caches by token prefix, shared by all requests.

A prefix is found by its tokens and nothing else, so a hit is never a guess.
"""

from collections.abc import Sequence as Run
from typing import Protocol

from mlx.nn.layers.base import Module
from mlx_lm.models.cache import KVCache, make_prompt_cache

from proto.ids import SessionId
from proto.presence import CacheLoad
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.marks import Mark
from services.runner.engine.caching.radix_cache import RadixCache
from services.runner.engine.caching.snapshot_cache import SnapshotCache


class PrefixCache(Protocol):
    version: int
    """Grows whenever there may be more to find."""

    def match(self, tokens: Run[int]) -> int:
        """How many tokens ``fetch`` would find; never all of them, as one must yield logits."""
        ...

    def fetch(self, tokens: Run[int]) -> tuple[Cache, int]:
        """A cache of one's own that holds the longest known prefix, and its length."""
        ...

    def insert(
        self,
        tokens: Run[int],
        cache: Cache,
        session: SessionId | None = None,
        marks: Run[Mark] = (),
    ) -> None:
        """Keep what ``cache`` holds for ``tokens``; the cache is not changed, nor may it be."""
        ...

    def resize(self, limit_bytes: int) -> bool:
        """Keep no more than so much from now on. True if anything had to go for it."""
        ...

    def told(self) -> dict[bytes, int]:
        """By the marks that are left, what the mesh may be told."""
        ...

    def stats(self) -> CacheLoad: ...


def prefix_cache(model: Module, limit_bytes: int) -> PrefixCache:
    """A tree where all layers are plain KV; whole snapshots for windows and state spaces."""
    if is_plain(model):
        return RadixCache(model, limit_bytes)
    return SnapshotCache(model, limit_bytes)


def is_plain(model: Module) -> bool:
    """All its layers keep keys and values, and nothing else."""
    return all(isinstance(layer, KVCache) for layer in make_prompt_cache(model))
