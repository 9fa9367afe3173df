"""What the mesh says of a node while its machine is worked on, and what it is asked to do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from bus import jobs
from bus.connection import Bus
from ops.console.operator import operator
from ops.remote.errors import NotSeen, RemoteError
from ops.words import ordered
from proto.errors import Code
from proto.jobs import Order
from proto.overview import NodeView

SEEN_S = 60.0
"""Till a node that was started is heard: importing takes seconds, on a busy machine more."""
READY_S = 900.0
"""Till it holds again what it held: large models take minutes."""
LOOK_S = 0.2
ASK_S = 2.0
"""How often its machine is asked meanwhile whether it runs."""
HELD = ("ready", "draining")
BROKEN = ("crashed", "quarantined", "refused")

Tell = Callable[[str], None]
Lives = Callable[[], Awaitable[bool]]
"""Whether there is something to wait for."""


async def look_at(bus: Bus, node: str) -> NodeView | None:
    """None where the mesh knows nothing of it."""
    seen = await jobs.look_around(bus)
    return next((each for each in seen.nodes if each.node == node), None)


def is_heard(view: NodeView | None) -> bool:
    return view is not None and view.state != "silent"


async def seen_anew(
    bus: Bus, node: str, before: NodeView | None, lives: Lives, within_s: float = SEEN_S
) -> None:
    """Once another life of its agent is heard than ``before``. Raises NotSeen."""
    old = before.boot if before else ""
    began = asked = time.monotonic()
    while True:
        view = await look_at(bus, node)
        if view is not None and is_heard(view) and view.boot != old:
            return
        now = time.monotonic()
        if now > began + within_s:
            raise NotSeen(f"{node} was started, and is not heard on the bus after {within_s:g} s")
        if now > asked + ASK_S:
            if not await lives():
                raise NotSeen(f"{node} was started, and ended")
            asked = now
        await asyncio.sleep(LOOK_S)


async def holds_again(bus: Bus, node: str, before: NodeView | None, tell: Tell) -> None:
    """Once all models are loaded that were. Raises NotSeen where one cannot be."""
    wanted = {each.engine for each in before.engines if each.phase == "ready"} if before else set()
    end = time.monotonic() + READY_S
    while True:
        view = await look_at(bus, node)
        there = {each.engine: each for each in view.engines} if view else {}
        # What was unloaded meanwhile is not waited for.
        coming = [it for id, it in there.items() if id in wanted and it.phase not in HELD]
        broken = [each for each in coming if each.phase in BROKEN]
        if broken:
            raise NotSeen(f"{broken[0].model} on {node}: {broken[0].phase}, {broken[0].detail}")
        if is_heard(view) and not coming:
            return
        if time.monotonic() > end:
            raise NotSeen(f"{node} does not hold {coming[0].model if coming else 'its models'}")
        tell(f"loading {coming[0].model}" if coming else "waiting")
        await asyncio.sleep(LOOK_S)


async def carry_out(bus: Bus, order: Order, tell: Tell, *, unknown_is_fine: bool = False) -> None:
    """Till it is done. Raises RemoteError where it cannot be, MeshError."""
    job = await jobs.submit(bus, order, operator())
    async with aclosing(jobs.follow(bus, job.id)) as states:
        async for state in states:
            if state is not None:
                job = state
                if not job.is_over:
                    tell(": ".join(filter(None, (job.phase, job.detail))))
    if job.state == "done":
        return
    if unknown_is_fine and job.error and Code.of(job.error.code) is Code.NOT_FOUND:
        return
    why = job.error.message if job.error else job.detail or job.state
    raise RemoteError(f"{ordered(order)}: {why}")
