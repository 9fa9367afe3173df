"""The table of faults: what each breaks, for how long, and what that may cost a client."""

from dataclasses import dataclass

from ops.bench._chaos import acts
from ops.bench._chaos.acts import Act
from ops.bench._chaos.ledger import Cost
from ops.bench._chaos.roles import BEHIND_LINKS, BUS, BUSES, GATEWAYS, NODES, OTHERS, SCHEDULERS
from proto.plan import PLANS
from proto.store import STORES


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind."""

    name: str
    what: str
    targets: tuple[str, ...]
    act: Act
    mend: Act = acts.nothing
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """Between ``act`` and ``mend``."""
    costs: frozenset[Cost] = frozenset()
    servers: int | None = None
    """Of the bus, with which it makes sense; None: with any."""
    breaks_mesh: bool = True
    """The next one waits until the mesh is whole again."""


ENGINES = tuple(f"engine {node}" for node in NODES)

MESH: tuple[Fault, ...] = (
    Fault(
        name="engine-kill",
        what="SIGKILL of an engine; its agent starts it again",
        targets=ENGINES,
        act=acts.kill,
    ),
    Fault(
        name="engine-stop",
        what="SIGSTOP of an engine, then SIGCONT: it comes back as if nothing had been",
        targets=ENGINES,
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(3.0, 8.0),
    ),
    Fault(
        name="engine-wedge",
        what="SIGSTOP of an engine that stays so, until its agent ends it",
        targets=ENGINES,
        act=acts.wedge,
    ),
    Fault(
        name="agent-kill",
        what="SIGKILL of an agent; the next one adopts the engine",
        targets=NODES,
        act=acts.kill,
    ),
    Fault(
        name="agent-stop",
        what="SIGSTOP of an agent, then SIGCONT",
        targets=NODES,
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(3.0, 8.0),
    ),
    Fault(
        name="node-kill",
        what="SIGKILL of an agent and its engine at once",
        targets=NODES,
        act=acts.kill_node,
    ),
    Fault(
        name="agent-restart",
        what="SIGTERM of an agent: its engine drains and goes, both come back",
        targets=NODES,
        act=acts.terminate,
    ),
    Fault(
        name="gateway-kill",
        what="SIGKILL of a gateway: its clients' connections break, and they ask again",
        targets=GATEWAYS,
        act=acts.kill,
        costs=frozenset({"gateway lost"}),
    ),
    Fault(
        name="gateway-stop",
        what="SIGSTOP of a gateway, then SIGCONT",
        targets=GATEWAYS,
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(2.0, 6.0),
        costs=frozenset({"gateway lost"}),
    ),
    Fault(
        name="gateway-restart",
        what="SIGTERM of a gateway: it drains",
        targets=GATEWAYS,
        act=acts.terminate,
        costs=frozenset({"gateway lost", "gateway stopped", "refused"}),
    ),
    Fault(
        name="scheduler-kill",
        what="SIGKILL of a scheduler",
        targets=SCHEDULERS,
        act=acts.kill,
    ),
    Fault(
        name="scheduler-stop",
        what="SIGSTOP of a scheduler, then SIGCONT",
        targets=SCHEDULERS,
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(2.0, 6.0),
    ),
    Fault(
        name="scheduler-restart",
        what="SIGTERM of a scheduler: it hands over",
        targets=SCHEDULERS,
        act=acts.terminate,
    ),
    Fault(
        name="cloud-kill",
        what="SIGKILL of the cloud service: answers from upstreams cannot be continued",
        targets=("cloud",),
        act=acts.kill,
        costs=frozenset({"upstream lost"}),
    ),
    Fault(
        name="cloud-restart",
        what="SIGTERM of the cloud service: it drains",
        targets=("cloud",),
        act=acts.terminate,
        costs=frozenset({"upstream lost"}),
    ),
    Fault(
        name="health-kill",
        what="SIGKILL of the health service",
        targets=("health",),
        act=acts.kill,
    ),
    Fault(
        name="bus-kill",
        what="SIGKILL of the bus server, which its supervisor starts again",
        targets=(BUS,),
        act=acts.kill,
        costs=frozenset({"refused"}),
        servers=1,
    ),
    Fault(
        name="bus-stop",
        what="SIGSTOP of the bus server, then SIGCONT",
        targets=(BUS,),
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(1.0, 4.0),
        costs=frozenset({"refused"}),
        servers=1,
    ),
    Fault(
        name="server-kill",
        what="SIGKILL of one of three bus servers",
        targets=BUSES,
        act=acts.kill,
        servers=3,
    ),
    Fault(
        name="server-stop",
        what="SIGSTOP of one of three bus servers, then SIGCONT",
        targets=BUSES,
        act=acts.stop,
        mend=acts.go_on,
        lasts_s=(1.0, 4.0),
        servers=3,
    ),
    Fault(
        name="link-cut",
        what="every connection of a node, or of a gateway, to the bus is reset",
        targets=BEHIND_LINKS,
        act=acts.cut,
    ),
    Fault(
        name="link-hole",
        what="nothing passes between a node, or a gateway, and the bus; then all of it does",
        targets=BEHIND_LINKS,
        act=acts.hole,
        mend=acts.heal,
        lasts_s=(6.0, 12.0),
        costs=frozenset({"refused"}),
    ),
    Fault(
        name="renewal",
        what="a service starts anew, as by `odyssai renew`: nobody notices",
        targets=(GATEWAYS[0], *SCHEDULERS, *NODES, *OTHERS),
        act=acts.renew,
    ),
    Fault(
        name="state-garbled",
        what="a record of the shared state is overwritten with bytes that nobody can read",
        targets=tuple(f"{bucket} {node}" for bucket in (PLANS, STORES) for node in NODES),
        act=acts.garble,
        mend=acts.ungarble,
        lasts_s=(4.0, 8.0),
    ),
    Fault(
        name="model-reload",
        what="the model is unloaded on a node and loaded again, by order",
        targets=NODES,
        act=acts.unload,
        mend=acts.load,
        lasts_s=(1.0, 3.0),
    ),
)
"""One at a time; the next only when the mesh is whole again."""

CLIENTS: tuple[Fault, ...] = (
    Fault(
        name="clients-leave",
        what="sixteen clients more hang up in the middle of their streams",
        targets=("clients",),
        act=acts.leave,
        breaks_mesh=False,
    ),
    Fault(
        name="key-revoked",
        what="eight clients more have a key that is revoked while they are answered",
        targets=("clients",),
        act=acts.revoke,
        breaks_mesh=False,
        costs=frozenset({"key revoked"}),
    ),
    Fault(
        name="clients-stall",
        what="eight clients more take their answers a few bytes at a time",
        targets=("clients",),
        act=acts.read_slowly,
        breaks_mesh=False,
    ),
)
"""Beside those of the mesh."""

FAULTS = {fault.name: fault for fault in (*MESH, *CLIENTS)}
