"""What one request does at an upstream: known to whoever calls, told by whoever was asked.

It goes along in the context of the request's task, past clients of every protocol, none of which
has a use for it.
"""

import math
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Errand:
    expires_at: float = math.inf
    """Monotonic time after which nobody waits for the answer."""
    stays: bool = False
    """It must not leave the local network, which is said to whoever is asked: another mesh keeps to
    it as this one does.
    """
    calls: int = 0
    """Times that the upstream was asked, with those that failed."""
    sent_bytes: int = 0
    """Of bodies, as are those received."""
    received_bytes: int = 0


ERRAND: ContextVar[Errand | None] = ContextVar("errand", default=None)


def errand() -> Errand:
    """The running request's; one of nobody's where what is asked is the service's own question."""
    return ERRAND.get() or Errand()
