"""What an upstream's models can be asked for, as far as its catalog tells."""

from msgspec import Struct


class Abilities(Struct, frozen=True, kw_only=True):
    """None: nobody knows, and what newer models take is tried."""

    thinks_by_itself: bool | None = None
    """It takes ``thinking`` of type ``adaptive``."""
    thinks_by_budget: bool | None = None
    """It takes ``thinking`` of type ``enabled``."""
    efforts: frozenset[str] | None = None
    """That it takes; empty: none."""
    most_tokens: int = 0
    """Of an answer; 0: nobody knows."""


UNKNOWN = Abilities()
