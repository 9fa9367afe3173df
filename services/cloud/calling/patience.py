"""How long an upstream is waited for: three waits that mean different things."""

from msgspec import Struct


class Patience(Struct, frozen=True, kw_only=True):
    """In seconds."""

    connect_s: float = 10.0
    """For a connection. Who does not answer the door is not there."""
    first_byte_s: float = 600.0
    """For the first byte of an answer, and then of its body: reasoning models think for minutes
    before they say anything."""
    idle_s: float = 120.0
    """Between two bytes of an answer that has begun. Upstreams that think in the middle of one say
    so now and then; one that is silent for longer is gone."""


USUAL = Patience()
