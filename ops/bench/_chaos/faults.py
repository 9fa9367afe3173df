"""The table of faults: what each breaks, for how long, and what that may cost a client."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ops.bench._chaos.client import Manner
from ops.bench._chaos.ledger import Cost
from ops.bench._chaos.load import Load
from ops.bench._chaos.roles import BEHIND_LINKS, BUS, GATEWAYS, NODES, OTHERS, SCHEDULERS
from ops.bench._chaos.spoiling import Spoilt, repair, spoil
from ops.bench._chaos.world import World
from proto.plan import PLANS
from proto.store import STORES

LEAVING, STALLING = 16, 8
"""Clients of a crowd."""


@dataclass(frozen=True)
class Scene:
    """Where faults happen."""

    world: World
    load: Load
    spoilt: dict[str, Spoilt] = field(default_factory=dict)
    """By bucket and key."""


Act = Callable[[Scene, str], Awaitable[None]]


async def nothing(_: Scene, __: str) -> None:
    """What was broken mends itself."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind."""

    name: str
    what: str
    targets: tuple[str, ...]
    act: Act
    mend: Act = nothing
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """Between ``act`` and ``mend``."""
    costs: frozenset[Cost] = frozenset()
    breaks_mesh: bool = True
    """The next one waits until the mesh is whole again."""


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


async def read_slowly(scene: Scene, _: str) -> None:
    async with asyncio.timeout(90):
        await scene.load.crowd(STALLING, Manner(pause_s=0.05))


ENGINES = tuple(f"engine {node}" for node in NODES)

MESH: tuple[Fault, ...] = (
    Fault(
        name="engine-kill",
        what="SIGKILL of an engine; its agent starts it again",
        targets=ENGINES,
        act=kill,
    ),
    Fault(
        name="engine-stop",
        what="SIGSTOP of an engine, then SIGCONT: it comes back as if nothing had been",
        targets=ENGINES,
        act=stop,
        mend=go_on,
        lasts_s=(3.0, 8.0),
    ),
    Fault(
        name="engine-wedge",
        what="SIGSTOP of an engine that stays so, until its agent ends it",
        targets=ENGINES,
        act=wedge,
    ),
    Fault(
        name="agent-kill",
        what="SIGKILL of an agent; the next one adopts the engine",
        targets=NODES,
        act=kill,
    ),
    Fault(
        name="agent-stop",
        what="SIGSTOP of an agent, then SIGCONT",
        targets=NODES,
        act=stop,
        mend=go_on,
        lasts_s=(3.0, 8.0),
    ),
    Fault(
        name="node-kill",
        what="SIGKILL of an agent and its engine at once",
        targets=NODES,
        act=kill_node,
    ),
    Fault(
        name="agent-restart",
        what="SIGTERM of an agent: its engine drains and goes, both come back",
        targets=NODES,
        act=terminate,
    ),
    Fault(
        name="gateway-kill",
        what="SIGKILL of a gateway: its clients' connections break, and they ask again",
        targets=GATEWAYS,
        act=kill,
        costs=frozenset({"gateway lost"}),
    ),
    Fault(
        name="gateway-stop",
        what="SIGSTOP of a gateway, then SIGCONT",
        targets=GATEWAYS,
        act=stop,
        mend=go_on,
        lasts_s=(2.0, 6.0),
        costs=frozenset({"gateway lost"}),
    ),
    Fault(
        name="gateway-restart",
        what="SIGTERM of a gateway: it drains",
        targets=GATEWAYS,
        act=terminate,
        costs=frozenset({"gateway lost", "gateway stopped", "refused"}),
    ),
    Fault(
        name="scheduler-kill",
        what="SIGKILL of a scheduler",
        targets=SCHEDULERS,
        act=kill,
    ),
    Fault(
        name="scheduler-stop",
        what="SIGSTOP of a scheduler, then SIGCONT",
        targets=SCHEDULERS,
        act=stop,
        mend=go_on,
        lasts_s=(2.0, 6.0),
    ),
    Fault(
        name="scheduler-restart",
        what="SIGTERM of a scheduler: it hands over",
        targets=SCHEDULERS,
        act=terminate,
    ),
    Fault(
        name="cloud-kill",
        what="SIGKILL of the cloud service: answers from upstreams cannot be continued",
        targets=("cloud",),
        act=kill,
        costs=frozenset({"upstream lost"}),
    ),
    Fault(
        name="cloud-restart",
        what="SIGTERM of the cloud service: it drains",
        targets=("cloud",),
        act=terminate,
        costs=frozenset({"upstream lost"}),
    ),
    Fault(
        name="health-kill",
        what="SIGKILL of the health service",
        targets=("health",),
        act=kill,
    ),
    Fault(
        name="bus-kill",
        what="SIGKILL of the bus server, which its supervisor starts again",
        targets=(BUS,),
        act=kill,
        costs=frozenset({"refused"}),
    ),
    Fault(
        name="bus-stop",
        what="SIGSTOP of the bus server, then SIGCONT",
        targets=(BUS,),
        act=stop,
        mend=go_on,
        lasts_s=(1.0, 4.0),
        costs=frozenset({"refused"}),
    ),
    Fault(
        name="link-cut",
        what="every connection of a node, or of a gateway, to the bus is reset",
        targets=BEHIND_LINKS,
        act=cut,
    ),
    Fault(
        name="link-hole",
        what="nothing passes between a node, or a gateway, and the bus; then all of it does",
        targets=BEHIND_LINKS,
        act=hole,
        mend=heal,
        lasts_s=(6.0, 12.0),
        costs=frozenset({"refused"}),
    ),
    Fault(
        name="renewal",
        what="a service starts anew, as by `odyssai renew`: nobody notices",
        targets=(GATEWAYS[0], *SCHEDULERS, *NODES, *OTHERS),
        act=renew,
    ),
    Fault(
        name="state-garbled",
        what="a record of the shared state is overwritten with bytes that nobody can read",
        targets=tuple(f"{bucket} {node}" for bucket in (PLANS, STORES) for node in NODES),
        act=garble,
        mend=ungarble,
        lasts_s=(4.0, 8.0),
    ),
    Fault(
        name="model-reload",
        what="the model is unloaded on a node and loaded again, by order",
        targets=NODES,
        act=unload,
        mend=load,
        lasts_s=(1.0, 3.0),
    ),
)
"""One at a time; the next only when the mesh is whole again."""

CLIENTS: tuple[Fault, ...] = (
    Fault(
        name="clients-leave",
        what="sixteen clients more hang up in the middle of their streams",
        targets=("clients",),
        act=leave,
        breaks_mesh=False,
    ),
    Fault(
        name="clients-stall",
        what="eight clients more take their answers a few bytes at a time",
        targets=("clients",),
        act=read_slowly,
        breaks_mesh=False,
    ),
)
"""Beside those of the mesh."""

FAULTS = {fault.name: fault for fault in (*MESH, *CLIENTS)}
