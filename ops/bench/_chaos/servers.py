"""The bus of the mesh that is broken: the one server of a home, or a cluster of three."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bus import embedded
from bus.cluster import Seat, name_of, servers_folder
from bus.embedded import Access
from bus.greeting import greeting
from ops.bench._chaos.pipe import HOST
from ops.bench._chaos.roles import BUS, BUSES, GATEWAYS, NODES, holder_of
from ops.bench._children import free_port
from ops.child import Program
from ops.joining.doorkeeper import Doorkeeper
from ops.joining.servers import init
from ops.up import BUS_RESTART_S
from proto.credentials import Holder


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
    """As operators start them, by what `odyssai bus` makes, with a credential for each role."""
    seats = tuple(Seat(host=HOST, port=free_port(), route_port=free_port()) for _ in BUSES)
    access = init(home, seats)
    embedded.admit(home, access, *map(holder_of, (*NODES, *GATEWAYS)))
    keeping = asyncio.create_task(Doorkeeper(home, access).run())
    programs = tuple(_server(home, access, number) for number in range(len(BUSES)))

    def url(holder: Holder) -> str:
        return access.url(holder.role, holder.name)

    def behind(holder: Holder, port: int) -> str:
        return access.url(holder.role, holder.name, f"{HOST}:{port}")

    try:
        yield Servers(programs, tuple(seat.port for seat in seats), url, behind)
    finally:
        keeping.cancel()


def _server(home: Path, access: Access, number: int) -> Program:
    name = BUSES[number]
    folder = servers_folder(access.folder)
    # Names in the settings are relative to where the server is started.
    start = 'cd "$1" && shift && exec "$@"'
    config, store = f"{name_of(number + 1)}.conf", str(home / name)
    run = (str(embedded.find_server()), "-c", config, "-sd", store)
    return _program(name, ("/bin/sh", "-c", start, name, str(folder), *run), dict(os.environ))


def _program(
    name: str, argv: tuple[str, ...], told: dict[str, str], inherits: tuple[int, ...] = ()
) -> Program:
    return Program(name, argv, told, inherits, BUS_RESTART_S, needs_leash=True)
