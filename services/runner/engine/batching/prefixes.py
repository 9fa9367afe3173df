"""The prefix cache as a batch uses it: by requests, and with what heartbeats may say of it."""

import time

from proto.presence import CacheLoad
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.prefix_cache import PrefixCache

TELL_S = 0.5
"""How often heartbeats may learn of a change in the prefix cache while there is work."""


class Prefixes:
    """Changed by the model's thread alone."""

    def __init__(self, cache: PrefixCache) -> None:
        self._cache = cache
        self._has_news = False
        """It changed since it was told of."""
        self._told_at = 0.0
        self.told: dict[bytes, int] = {}
        """What it held a moment ago. Replaced, never changed, so all may read it."""

    @property
    def load(self) -> CacheLoad:
        return self._cache.stats()

    def match(self, sequence: Sequence) -> None:
        """What is known of its prompt now, which its place among those that are read depends on."""
        sequence.know(self._cache.match(sequence.prefix_key(sequence.prompt)))
        sequence.matched_at = self._cache.version

    def match_again(self, sequence: Sequence) -> None:
        """If it has no KV cache yet and there may be more to find."""
        if sequence.cache is None and sequence.matched_at != self._cache.version:
            self.match(sequence)

    def fetch(self, sequence: Sequence) -> None:
        """A KV cache of its own, with what is known of its prompt."""
        key = sequence.prefix_key(sequence.prompt)
        sequence.cache, known = self._cache.fetch(key)
        sequence.know(known)

    def keep_prompt(self, sequence: Sequence) -> None:
        """Of one whose prompt was read to its end."""
        key = sequence.prefix_key(sequence.prompt)
        self._cache.insert(key, sequence.held, marks=sequence.marks)
        self._has_news = True

    def keep(self, sequence: Sequence, tokens: list[int], cache: Cache) -> None:
        """What a request computed, for whoever goes on from there."""
        key = sequence.prefix_key(tokens)
        self._cache.insert(key, cache, sequence.session, sequence.marks)
        self._has_news = True

    def resize(self, limit_bytes: int) -> None:
        self._has_news |= self._cache.resize(limit_bytes)

    def forget(self) -> None:
        """All of it."""
        limit_bytes = self._cache.stats().limit_bytes
        self.resize(0)
        self.resize(limit_bytes)

    def tell(self, *, is_idle: bool) -> None:
        """Not at every step while there are steps: it looks at the whole cache."""
        now = time.monotonic()
        if self._has_news and (is_idle or now - self._told_at >= TELL_S):
            self.told = self._cache.told()
            self._told_at, self._has_news = now, False
