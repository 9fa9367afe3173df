"""How many connections are open, and whether one more may be served."""

import logging
import resource
from collections import Counter
from typing import Literal

from msgspec import Struct

from services.gateway.http.loopback import is_loopback
from services.host import number

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 128
"""For the bus, logs, pictures that are fetched."""

Verdict = Literal["welcome", "surplus", "turned away"]
"""Surplus connections are told why they are not served; of these, too, there is only so much."""


class Bounds(Struct, frozen=True, kw_only=True):
    connections: int
    per_address: int
    """Of one machine; this machine's own are not bounded by it. 0: not bounded."""
    patience_s: float
    """How long a client may take to send the head of a request, or before its body must flow."""

    @classmethod
    def read(cls) -> "Bounds":
        """From ODYSSAI_CONNECTIONS, _CONNECTIONS_PER_ADDRESS and _PATIENCE_S. Raises
        SettingError.
        """
        return cls(
            connections=int(number("ODYSSAI_CONNECTIONS", 4096, 1)),
            per_address=int(number("ODYSSAI_CONNECTIONS_PER_ADDRESS", 512, 0)),
            patience_s=number("ODYSSAI_PATIENCE_S", 30, 0.1),
        )


class Crowd:
    """All open connections of one gateway."""

    def __init__(self, bounds: Bounds) -> None:
        self.patience_s = bounds.patience_s
        self._most = _affordable(bounds.connections)
        self._per_address = bounds.per_address
        self._open: Counter[str] = Counter()
        self._count = 0

    def enter(self, address: str) -> Verdict:
        """Every connection that enters has to leave, whatever the verdict."""
        self._count += 1
        self._open[address] += 1
        load = self._count / self._most
        if self._per_address and not is_loopback(address):
            load = max(load, self._open[address] / self._per_address)
        if load <= 1:
            return "welcome"
        return "surplus" if load <= 1.5 else "turned away"

    def leave(self, address: str) -> None:
        self._count -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


def _affordable(connections: int) -> int:
    """No more than the system gives this process descriptors for, surplus included; it is asked
    for as many as that takes.
    """
    needed = connections * 3 // 2 + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            wanted = soft
        if wanted < needed:
            connections = max(1, (wanted - SPARE_DESCRIPTORS) * 2 // 3)
            log.warning(
                "the system gives %d descriptors: %d connections at once", wanted, connections
            )
    return connections
