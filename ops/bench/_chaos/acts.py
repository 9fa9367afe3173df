"""How each fault is done, and undone."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ops.bench._chaos.answer import Broken
from ops.bench._chaos.client import Manner
from ops.bench._chaos.load import Load
from ops.bench._chaos.spoiling import Spoilt, repair, spoil
from ops.bench._chaos.world import World
from proto.ids import fresh

LEAVING, STALLING, DOOMED = 16, 8, 8
"""Clients of a crowd."""
AGAIN_S = 0.25
"""Before a gateway is asked again that was lost while it was asked."""
UNDER_WAY_S = 0.7
"""In which a crowd's first answers have begun."""


@dataclass(frozen=True)
class Scene:
    """Where faults happen."""

    world: World
    load: Load
    spoilt: dict[str, Spoilt] = field(default_factory=dict)
    """By bucket and key."""


Act = Callable[[Scene, str], Awaitable[None]]
T = TypeVar("T")


async def nothing(_: Scene, __: str) -> None:
    """What was broken mends itself."""


async def kill(scene: Scene, target: str) -> None:
    scene.world.end(target, signal.SIGKILL)


async def kill_node(scene: Scene, target: str) -> None:
    """Agent and engine in one moment."""
    scene.world.end(f"engine {target}", signal.SIGKILL)
    scene.world.end(target, signal.SIGKILL)


async def terminate(scene: Scene, target: str) -> None:
    scene.world.end(target, signal.SIGTERM)


async def renew(scene: Scene, target: str) -> None:
    """A successor first, then the end of who serves: what `odyssai renew` does."""
    await scene.world.members[target].child.renew()


async def wedge(scene: Scene, target: str) -> None:
    """It never comes back by itself: somebody has to end it."""
    scene.world.end(target, signal.SIGSTOP)


async def stop(scene: Scene, target: str) -> None:
    scene.world.send(target, signal.SIGSTOP)


async def go_on(scene: Scene, target: str) -> None:
    scene.world.send(target, signal.SIGCONT)


async def cut(scene: Scene, target: str) -> None:
    scene.world.links[target].cut()


async def hole(scene: Scene, target: str) -> None:
    scene.world.links[target].hole()


async def heal(scene: Scene, target: str) -> None:
    scene.world.links[target].heal()


async def garble(scene: Scene, target: str) -> None:
    bucket, _, key = target.partition(" ")
    scene.spoilt[target] = await spoil(scene.world.presence.bus, bucket, key)


async def ungarble(scene: Scene, target: str) -> None:
    await repair(scene.world.presence.bus, scene.spoilt.pop(target))


async def unload(scene: Scene, target: str) -> None:
    await scene.world.order("unload", target)


async def load(scene: Scene, target: str) -> None:
    await scene.world.order("load", target)


async def leave(scene: Scene, _: str) -> None:
    await scene.load.crowd(LEAVING, Manner(leaves_after=8))


async def revoke(scene: Scene, _: str) -> None:
    """When the first of them hear something."""
    name, key = await _surely(lambda: _doomed_key(scene.world))
    asking = asyncio.create_task(scene.load.crowd(DOOMED, Manner(doomed_key=key)))
    await asyncio.sleep(UNDER_WAY_S)
    await _surely(lambda: scene.world.revoke_key(name))
    await asking


async def _doomed_key(world: World) -> tuple[str, str]:
    """Its name, another each time, and the key."""
    name = f"doomed-{fresh()}"
    return name, await world.make_key(name, "inference")


async def _surely(order: Callable[[], Awaitable[T]]) -> T:
    """Other faults go on meanwhile: a gateway that one of them ends answers no order."""
    while True:
        try:
            return await order()
        except Broken:
            await asyncio.sleep(AGAIN_S)


async def read_slowly(scene: Scene, _: str) -> None:
    await scene.load.crowd(STALLING, Manner(pause_s=0.05))
