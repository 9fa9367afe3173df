"""How much KV memory running requests may hold together, and what of it is left."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.runner.engine.batching.sequence import Sequence

ROOMY = 0.5
"""Part of the bytes up to which a further request surely fits, however it changes the batch."""


@dataclass(frozen=True)
class KvRoom:
    """None: not bounded."""

    tokens: int | None = None
    """Of all running requests together."""
    bytes: int | None = None
    """Of their caches, and of what the prefix cache keeps."""

    @property
    def is_bounded(self) -> bool:
        return self.tokens is not None or self.bytes is not None

    def lacking(self, sequence: Sequence, running: Iterable[Sequence]) -> int:
        """Tokens that one more request has too few of; not more than 0: it has enough.

        Whoever would run alone has always enough: it was refused else.
        """
        if self.tokens is None:
            return 0
        claimed = sum(each.claim for each in running)
        return claimed + sequence.claim - self.tokens if claimed else 0

    def is_full(self, running: Iterable[Sequence]) -> bool:
        """The next token of everybody is one too many."""
        return self.tokens is not None and sum(s.length + 1 for s in running) > self.tokens

    def is_exceeded(self, held_bytes: int) -> bool:
        return self.bytes is not None and held_bytes > self.bytes

    def is_roomy(self, held_bytes: int) -> bool:
        return self.bytes is None or held_bytes <= ROOMY * self.bytes

    def left_bytes(self, held_bytes: int, most: int) -> int:
        """What the prefix cache may keep beside running requests; ``most`` where nobody says."""
        return most if self.bytes is None else max(0, self.bytes - held_bytes)
