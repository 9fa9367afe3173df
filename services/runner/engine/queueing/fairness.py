"""How much of an engine each key has had: what fairness between keys is reckoned by.

Every key has a clock that runs by the tokens read and generated for it, over its weight. Of
keys that want something, the one whose clock is furthest behind comes first, so that over any
time in which two keys want more than there is, both get tokens in proportion to their weights.
"""

from collections import OrderedDict

from proto.ids import KeyId

CREDIT = 4096.0
"""Tokens by which the clock of a key that comes back may be behind: a pause earns so much."""
GENERATED = 2.0
"""What a generated token counts beside one that is read, as it costs about so much more."""
NOBODY = KeyId("")
"""The key of those who show none."""
REMEMBERED = 1024
"""Keys whose clocks are kept while they ask for nothing."""


class Share:
    """What one key has had, and has now. Written by the engine's thread alone."""

    __slots__ = ("open", "running", "served", "weight")

    def __init__(self) -> None:
        self.weight = 1.0
        self.served = 0.0
        """Its clock: tokens for each unit of weight."""
        self.open = 0
        """Its requests, waiting and running."""
        self.running = 0

    def read(self, tokens: int) -> None:
        self.served += tokens / self.weight

    def generated(self) -> None:
        self.served += GENERATED / self.weight


class Shares:
    """The clocks of all keys."""

    def __init__(self) -> None:
        self._shares: OrderedDict[KeyId, Share] = OrderedDict()
        self._floor = 0.0
        """Where the clock stands that was last seen furthest behind, of those that wanted."""

    def enter(self, key: KeyId, weight: float) -> Share:
        """The share that one more request of the key is part of. The latest weight counts."""
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share()
        self._shares.move_to_end(key)
        if not share.open:
            share.served = max(share.served, self._rise() - CREDIT)
        share.weight = weight
        share.open += 1
        self._forget()
        return share

    def leave(self, share: Share) -> None:
        """One of its requests is over."""
        share.open -= 1
        if not any(other.open for other in self._shares.values()):
            self._floor = max(self._floor, share.served)

    def _rise(self) -> float:
        wanting = [share.served for share in self._shares.values() if share.open]
        self._floor = max(self._floor, min(wanting, default=0.0))
        return self._floor

    def _forget(self) -> None:
        if len(self._shares) > REMEMBERED:
            idle = [key for key, share in self._shares.items() if not share.open]
            for key in idle[: len(self._shares) - REMEMBERED]:
                del self._shares[key]
