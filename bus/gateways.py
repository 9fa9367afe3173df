"""Whether the gateways that somebody works for still live: who is gone is told within 3 s.

A gateway that missed a heartbeat is asked. Nobody there, again and again: its process has ended.
Neither answer nor heartbeat for ``SILENCE_S``: it is wedged or cut off, and reads no stream.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable

from bus.connection import Bus
from bus.errors import BusError, NobodyThere
from proto.errors import MeshError
from proto.ids import GatewayId
from proto.presence import HEARTBEAT_S, SILENCE_S, Gone, Here, Probe
from proto.subjects import GATEWAY_BEAT, GATEWAY_GONE, PROBE

log = logging.getLogger(__name__)

OVERDUE_S = HEARTBEAT_S + 0.3
"""A heartbeat this late was missed."""
PROBE_S = 0.7
"""How long one question waits."""
ABSENCES = 3
"""Questions in a row that find nobody there: a gateway that changes servers is away for one."""
LOOK_S = 0.25
LATELY_S = 2 * LOOK_S
"""Since the look before, at least."""


class Gateways:
    """One worker's view of those it works for. The clock is handed in."""

    def __init__(
        self,
        bus: Bus,
        served: Callable[[], Iterable[GatewayId]],
        lost: Callable[[GatewayId], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``served`` are those with a request that has not ended, each as often as it likes."""
        self._bus = bus
        self._served = served
        self._lost = lost
        self._now = now
        self._heard: dict[GatewayId, float] = {}
        self._absences: Counter[GatewayId] = Counter()
        self._probes: dict[GatewayId, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Listen, and look around for ever."""
        hearings = [
            await self._bus.listen(GATEWAY_BEAT, lambda beat: self.hear(beat.gateway)),
            await self._bus.listen(GATEWAY_GONE, self._hear_gone),
        ]
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                self._look()
        finally:
            for hearing in hearings:
                await hearing.stop()
            for probe in self._probes.values():
                probe.cancel()

    def hear(self, gateway: GatewayId) -> None:
        """It said something just now."""
        self._heard[gateway] = self._now()
        self._absences.pop(gateway, None)

    def _hear_gone(self, gone: Gone) -> None:
        self._lose(GatewayId(gone.id), "it said farewell")

    def _look(self) -> None:
        now = self._now()
        was_deaf = self._bus.ear.is_excused(LATELY_S)
        served = set(self._served())
        # Of others nothing needs to be known, and silence proves nothing while we are deaf.
        self._heard = {g: now if was_deaf else self._heard.get(g, now) for g in served}
        for gateway, at in list(self._heard.items()):
            if now - at > SILENCE_S:
                self._lose(gateway, f"neither heard nor answering for {now - at:.1f} s")
            elif now - at > OVERDUE_S and gateway not in self._probes:
                self._probes[gateway] = asyncio.create_task(self._probe(gateway))

    async def _probe(self, gateway: GatewayId) -> None:
        try:
            await self._bus.ask(PROBE, Probe(), gateway, timeout_s=PROBE_S)
        except NobodyThere:
            self._absences[gateway] += 1
            if self._absences[gateway] >= ABSENCES:
                self._lose(gateway, "nobody is there any more")
        except (BusError, MeshError) as error:
            log.info("gateway %s: %s", gateway, error)
        else:
            self.hear(gateway)
        finally:
            del self._probes[gateway]

    def _lose(self, gateway: GatewayId, why: str) -> None:
        self._absences.pop(gateway, None)
        if self._heard.pop(gateway, None) is not None:
            log.info("gateway %s is gone: %s", gateway, why)
            self._lost(gateway)


async def answer_probes(bus: Bus, gateway: GatewayId, boot: str) -> None:
    """Let those who work for a gateway ask whether it is there."""

    async def answer(_: Probe) -> Here:
        return Here(boot=boot)

    await bus.answer(PROBE, answer, gateway)
