"""The watch: hear everybody, raise an alert when somebody is unwell, clear it when well again."""

import asyncio
import re
import time

from bus.connection import Bus
from proto.ids import service_id
from proto.presence import SILENCE_S, EngineBeat, GatewayBeat, Gone, NodeBeat, ServiceBeat
from proto.subjects import (
    ALERT_TELEMETRY,
    ENGINE_BEAT,
    ENGINE_GONE,
    GATEWAY_BEAT,
    GATEWAY_GONE,
    NODE_BEAT,
    NODE_GONE,
    SERVICE_BEAT,
    SERVICE_GONE,
)
from proto.telemetry import Alert
from services.health.bookkeeping.bookkeeper import keep_books
from services.health.verdict import Trouble, Ward
from services.host import Host, present

ROUND_S = 0.25
"""How often everybody is looked at."""


async def serve(host: Host) -> None:
    watch = Watch(host.bus)
    await watch.follow()
    async with asyncio.TaskGroup() as tasks:
        living = [
            tasks.create_task(watch.keep()),
            tasks.create_task(keep_books(host)),
            tasks.create_task(present(host)),
        ]
        host.ready()
        await host.stopping.wait()
        for task in living:
            task.cancel()


class Watch:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ward = Ward()
        self._raised: set[Trouble] = set()

    async def follow(self) -> None:
        now = time.monotonic

        def engine(beat: EngineBeat) -> None:
            self._ward.hear("engine", beat.engine, now(), beat.stalled_s, _down(beat))
            self._ward.hear_unreadable(beat.engine, beat.unreadable, now())

        def node(beat: NodeBeat) -> None:
            self._ward.hear("node", beat.node, now())
            self._ward.hear_given_up(beat.node, _given_up(beat))
            self._ward.hear_unreadable(beat.node, beat.unreadable, now())

        def gateway(beat: GatewayBeat) -> None:
            self._ward.hear("gateway", beat.gateway, now())
            self._ward.hear_unreadable(beat.gateway, beat.unreadable, now())

        def service(beat: ServiceBeat) -> None:
            id = service_id(beat.service, beat.id)
            self._ward.hear("service", id, now())
            self._ward.hear_unreadable(id, beat.unreadable, now())

        def gone(gone: Gone) -> None:
            self._ward.hear_gone(gone.kind, gone.id, gone.why, now())

        await self._bus.listen(ENGINE_BEAT, engine)
        await self._bus.listen(NODE_BEAT, node)
        await self._bus.listen(GATEWAY_BEAT, gateway)
        await self._bus.listen(SERVICE_BEAT, service)
        for farewell in (ENGINE_GONE, NODE_GONE, GATEWAY_GONE, SERVICE_GONE):
            await self._bus.listen(farewell, gone)

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            if self._bus.ear.is_excused(SILENCE_S):
                continue
            troubles = self._ward.troubles(time.monotonic())
            for trouble in troubles - self._raised:
                await self._say(trouble, cleared=False)
            for trouble in self._raised - troubles:
                await self._say(trouble, cleared=True)
            self._raised = troubles

    async def _say(self, trouble: Trouble, *, cleared: bool) -> None:
        alert = Alert(
            alert=trouble.alert,
            subject=trouble.subject,
            detail=trouble.detail,
            cleared=cleared,
            at_s=time.time(),
        )
        await self._bus.publish(ALERT_TELEMETRY, alert, _token(trouble.subject))


def _token(subject: str) -> str:
    """As it may stand in a subject, whatever somebody called a record."""
    return re.sub(r"[^\w-]", "-", subject)


def _down(beat: EngineBeat) -> str:
    """Until it is found to be well, which a rest alone does not tell."""
    return "" if beat.circuit == "closed" else beat.trouble


def _given_up(beat: NodeBeat) -> dict[str, str]:
    return {
        status.engine: f"{status.model} is not started on {beat.node} any more: {status.detail}"
        for status in beat.engines
        if status.phase == "quarantined"
    }
