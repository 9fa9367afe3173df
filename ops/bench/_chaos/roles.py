"""Who takes part in the mesh that is broken, and what each is told."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.bench._chaos.pipe import HOST
from ops.bench._chaos.upstream import NAME
from proto.credentials import HOME, Holder

GATEWAYS = ("gateway-1", "gateway-2")
SCHEDULERS = ("scheduler-1", "scheduler-2")
NODES = ("node-a", "node-b")
OTHERS = ("cloud", "health")
BUS = "nats-server"
BUSES = tuple(f"{BUS}-{number}" for number in (1, 2, 3))
"""Of a cluster."""
BEHIND_LINKS = (*NODES, GATEWAYS[1])
"""Who reaches the bus over a link that can be broken."""
CACHE_BYTES = 32 << 20
"""Of each engine's prefix cache: it is full soon, so that what grows later is a leak."""


@dataclass(frozen=True)
class Role:
    name: str
    module: str
    told: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[int, ...] = ()


def roles(
    model: str, ports: Mapping[str, int], held: socket.socket, upstream_url: str
) -> list[Role]:
    """All but the bus server. ``ports`` are the gateways'.

    The first gateway has its listening socket, ``held``, from its supervisor, as with `odyssai up`;
    the second makes its own, as where a service is started alone.
    """
    first, second = GATEWAYS
    descriptor = held.fileno()
    return [
        Role(
            first,
            "services.gateway",
            {**_listens(ports[first]), "ODYSSAI_LISTEN_FD": str(descriptor)},
            (descriptor,),
        ),
        Role(second, "services.gateway", _listens(ports[second])),
        *(Role(name, "services.scheduler") for name in SCHEDULERS),
        *(Role(name, "services.runner", _node(name, model)) for name in NODES),
        Role("cloud", "services.cloud", {"ODYSSAI_UPSTREAMS": f"{NAME}={upstream_url}"}),
        Role("health", "services.health"),
    ]


def _listens(port: int) -> dict[str, str]:
    return {"ODYSSAI_HOST": HOST, "ODYSSAI_PORT": str(port)}


def _node(name: str, model: str) -> dict[str, str]:
    return {
        "ODYSSAI_NODE": name,
        "ODYSSAI_MODELS": model,
        "ODYSSAI_CACHE_BYTES": str(CACHE_BYTES),
        # Its engines die by our hands, which says nothing against the model.
        "ODYSSAI_CRASH_LIMIT": "0",
        # Every token is compared with that of a calm mesh: company must not round it another way.
        "ODYSSAI_REPRODUCIBLE": "1",
    }


def holder_of(name: str) -> Holder:
    """Whose credential it connects by: gateways and nodes have one each."""
    if name in NODES:
        return Holder("runner", name)
    if name in GATEWAYS:
        return Holder("gateway", name)
    return Holder.of(f"{'scheduler' if name in SCHEDULERS else name}.{HOME}")
