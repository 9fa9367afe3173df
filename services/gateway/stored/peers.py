"""Which gateways live: what one that died was generating is over."""

import time
from collections.abc import Callable

from bus.connection import Bus
from proto.ids import GatewayId
from proto.presence import SILENCE_S, GatewayBeat, Gone
from proto.subjects import GATEWAY_BEAT, GATEWAY_GONE


class Peers:
    """Gateways by their heartbeats. Who only began to listen knows of nobody's death."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._listening_since = now()
        self._heard: dict[str, float] = {}

    async def follow(self, bus: Bus) -> None:
        await bus.listen(GATEWAY_BEAT, self.hear)
        await bus.listen(GATEWAY_GONE, self.hear_gone)
        bus.on_reconnect.append(self.excuse_silence)

    def hear(self, beat: GatewayBeat) -> None:
        self._heard[beat.gateway] = self._now()

    def hear_gone(self, gone: Gone) -> None:
        self._heard.pop(gone.id, None)

    def excuse_silence(self) -> None:
        """Nobody was heard while the bus was away; that proves nothing about them."""
        self._listening_since = self._now()

    def is_dead(self, gateway: GatewayId) -> bool:
        oldest = self._now() - SILENCE_S
        return self._listening_since < oldest and self._heard.get(gateway, 0.0) < oldest
