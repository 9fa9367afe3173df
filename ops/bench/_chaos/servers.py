"""The bus of the mesh that is broken: the one server of a home, or a cluster of three."""

import asyncio
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bus import embedded
from bus.greeting import greeting
from ops.bench._chaos.pipe import HOST
from ops.bench._chaos.roles import BUS, BUSES, GATEWAYS, NODES, holder_of
from ops.bench._children import ROOT, free_port
from ops.child import Program
from ops.joining.doorkeeper import Doorkeeper
from ops.up import BUS_RESTART_S
from proto.credentials import Holder

_CLUSTER = ROOT / "ops" / "nats" / "cluster.conf"


@dataclass(frozen=True)
class Servers:
    """Programs to be kept running, and the way to them."""

    programs: tuple[Program, ...]
    ports: tuple[int, ...]
    url: Callable[[Holder], str]
    behind: Callable[[Holder, int], str]
    """The same by way of a link, which listens on that port."""

    async def are_there(self) -> bool:
        greetings = [await greeting(HOST, port) for port in self.ports]
        return all(said is not None for said in greetings)


@contextmanager
def one(home: Path) -> Iterator[Servers]:
    """As `odyssai up` brings it along, with a credential for each role."""
    server = embedded.prepare(home)
    access = server.access
    embedded.admit(home, access, *map(holder_of, (*NODES, *GATEWAYS)))
    keeping = asyncio.create_task(Doorkeeper(home, access).run())

    def url(holder: Holder) -> str:
        return access.url(holder.role, holder.name)

    def behind(holder: Holder, port: int) -> str:
        return url(holder).replace(access.address, f"{HOST}:{port}")

    try:
        program = _program(BUS, server.argv, dict(os.environ), (server.claim,))
        yield Servers((program,), (access.port,), url, behind)
    finally:
        keeping.cancel()
        os.close(server.claim)


@contextmanager
def three(home: Path) -> Iterator[Servers]:
    """As operators start them, with the settings that we ship: one password opens all."""
    password = secrets.token_urlsafe(24)
    ports, routes = ([free_port() for _ in BUSES] for _ in range(2))
    between = ", ".join(f'"nats://route:{password}@{HOST}:{port}"' for port in routes)
    programs = []
    for name, port, route in zip(BUSES, ports, routes, strict=True):
        told = {
            "ODYSSAI_BUS_PASSWORD": password,
            "ODYSSAI_BUS_ROUTES": f"[{between}]",
            "ODYSSAI_BUS_STORE": json.dumps(str(home / name)),
        }
        where = ("--addr", HOST, "--port", str(port), "--cluster", f"nats://{HOST}:{route}")
        argv = (str(embedded.find_server()), "-c", str(_CLUSTER), "--name", name, *where)
        programs.append(_program(name, argv, {**os.environ, **told}))

    def url(_: Holder) -> str:
        return ",".join(f"nats://mesh:{password}@{HOST}:{port}" for port in ports)

    def behind(_: Holder, port: int) -> str:
        return f"nats://mesh:{password}@{HOST}:{port}"

    yield Servers(tuple(programs), tuple(ports), url, behind)


def _program(
    name: str, argv: tuple[str, ...], told: dict[str, str], inherits: tuple[int, ...] = ()
) -> Program:
    return Program(name, argv, told, inherits, BUS_RESTART_S, needs_leash=True)
