"""How often a generation may lose its engine: each time another goes on, unless it gets nowhere."""

from proto.errors import Code
from services.gateway.asking.wait import LOST

ATTEMPTS = 3
"""Engines lost in a row where the answer did not get on: it is the request that they die of."""
GETS_ON = 8
"""Tokens between two losses that count as getting on. What kills an engine, such as a context too
long for its memory, lets the next one say a few before it dies, too.
"""
FAILED = (Code.INTERNAL, Code.NO_MEMORY)
FAULTS = 1
"""Failures of engines that another one may make good: the next is taken for the request's own."""


class Setbacks:
    """Of one generation."""

    def __init__(self) -> None:
        self._losses = 0
        """In a row."""
        self._tokens = 0
        """Of the answer, at the last of them."""
        self._faults = 0

    def allow(self, code: Code, tokens: int, *, has_others: bool) -> bool:
        """Whether another attempt is worth it after one that ended so, when the answer had so many
        ``tokens``. Counts it.

        ``has_others``: another engine of ours has the model. Where an engine failed and lives,
        only those may do better.
        """
        if code in LOST:
            if tokens >= self._tokens + GETS_ON:
                self._losses = 0
            self._tokens = tokens
            self._losses += 1
            return self._losses < ATTEMPTS
        if code in FAILED and has_others:
            self._faults += 1
            return self._faults <= FAULTS
        return False
