"""Saying that one is there: a heartbeat every second, at once on a change, and a farewell."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from bus.connection import Bus
from proto.group import RankBeat
from proto.presence import (
    HEARTBEAT_S,
    EngineBeat,
    GatewayBeat,
    Gone,
    NodeBeat,
    ServiceBeat,
)
from proto.subjects import ENGINE_GONE, GATEWAY_GONE, NODE_GONE, SERVICE_GONE, Subject

B = TypeVar("B", bound=EngineBeat | RankBeat | NodeBeat | GatewayBeat | ServiceBeat)

_GONE = {
    "engine": ENGINE_GONE,
    "node": NODE_GONE,
    "gateway": GATEWAY_GONE,
    "service": SERVICE_GONE,
}
LOOK_S = 0.25
"""How often a speaker's state is looked at for a change worth saying before the next beat."""


async def beat(
    bus: Bus,
    id: str,
    subjects: tuple[Subject[B], ...],
    describe: Callable[[], B],
    urgent: Callable[[B], object] = lambda _: None,
    outward: Callable[[B], B] = lambda beat: beat,
    every_s: float = HEARTBEAT_S,
) -> None:
    """Say ``describe()`` on every subject for ever; on those of telemetry what is ``outward``.

    What the process could not read is added to it.

    Every ``every_s`` seconds; sooner when ``urgent(beat)`` differs from what was last said.
    """
    said: object = None
    elapsed = every_s
    while True:
        state = replace(describe(), unreadable=bus.unread.told())
        if elapsed >= every_s or urgent(state) != said:
            said, elapsed = urgent(state), 0.0
            for subject in subjects:
                await bus.publish(subject, outward(state) if subject.is_json else state, id)
        await asyncio.sleep(LOOK_S)
        elapsed += LOOK_S


def asyncio_tasks() -> int:
    """In this process. It costs a microsecond for each of them."""
    return len(asyncio.all_tasks())


async def farewell(bus: Bus, gone: Gone) -> None:
    """Tell the mesh that somebody ended, so that nobody waits for silence to prove it."""
    await bus.publish(_GONE[gone.kind], gone, gone.id)
