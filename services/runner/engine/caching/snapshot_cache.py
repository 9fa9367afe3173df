"""A prefix cache for windows and state spaces: whole caches, as they cannot be cut."""

from collections.abc import Sequence as Run

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import LRUPromptCache, make_prompt_cache

from proto.ids import SessionId
from proto.presence import CacheLoad
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.marks import Mark, Marks, told

SNAPSHOTS = 256
"""Whole caches kept of models whose layers cannot be cut."""


class _Marked(list[int]):
    """A snapshot's tokens as mlx-lm keeps them for as long as the snapshot, with its last mark."""

    def __init__(self, tokens: Run[int], marks: Run[Mark]) -> None:
        super().__init__(tokens)
        within = [mark for mark in marks if mark.tokens <= len(tokens)]
        self.marks: Marks = dict(within[-1:])


class SnapshotCache:
    """Whole caches by mlx-lm's LRUPromptCache, for layers that cannot be cut at any token.

    A session is not pinned here: the latest snapshot is the last to go anyway.
    """

    def __init__(self, model: Module, limit_bytes: int) -> None:
        self._model = model
        self._limit = limit_bytes
        self._entries = LRUPromptCache(SNAPSHOTS, limit_bytes)
        self.version = 0

    def match(self, tokens: Run[int]) -> int:
        return self.fetch(tokens)[1]

    def fetch(self, tokens: Run[int]) -> tuple[Cache, int]:
        known = list(tokens[:-1])
        cache, rest = self._entries.fetch_nearest_cache("", known)
        if cache is None:
            return make_prompt_cache(self._model), 0
        return cache, len(known) - len(rest)

    def insert(
        self,
        tokens: Run[int],
        cache: Cache,
        session: SessionId | None = None,
        marks: Run[Mark] = (),
    ) -> None:
        mx.async_eval([layer.state for layer in cache])
        if sum(layer.nbytes for layer in cache) <= self._limit:
            self._entries.insert_cache("", _Marked(tokens, marks), cache)
            self.version += 1

    def resize(self, limit_bytes: int) -> bool:
        self._limit = self._entries.max_bytes = limit_bytes
        is_too_much = bool(self._entries.nbytes > limit_bytes)
        self._entries.trim_to(n_bytes=limit_bytes)
        return is_too_much

    def told(self) -> dict[bytes, int]:
        """Of each snapshot its last mark: it serves whoever goes on from there, and nobody else."""
        kept = [tokens for order in self._entries._lru._lrus.values() for _, tokens in order]
        return told(tokens.marks for tokens in reversed(kept))

    def stats(self) -> CacheLoad:
        return CacheLoad(
            used_bytes=self._entries.nbytes,
            limit_bytes=self._limit,
            tokens=0,
        )
