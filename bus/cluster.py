"""A bus of several servers, each on a machine of its own: where they are, and their settings.

The settings name certificates beside them, so that the folder may lie elsewhere on each machine.
"""

from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from bus.address import bracketed
from bus.home import private_folder, write_private
from bus.members import Members
from bus.server_config import Config, Routes, Tls

PORT = 4222
ROUTE_PORT = 6222
EVERYWHERE = "0.0.0.0"
LOOPBACK = "127.0.0.1"
_SHARED = ("ca.pem", "server.pem", "server.key")


class Seat(Struct, frozen=True, kw_only=True):
    """Where one of the servers is, as clients and the others call it."""

    host: str
    port: int = PORT
    route_port: int = ROUTE_PORT
    """For the other servers."""

    @classmethod
    def parse(cls, text: str) -> "Seat":
        """``host``, ``host:port`` or ``host:port:route port``. Raises ValueError."""
        host, _, rest = text[1:].partition("]") if text[:1] == "[" else text.partition(":")
        ports = rest.strip(":").split(":") if rest else []
        if not host or len(ports) > 2 or not all(map(_is_port, ports)):
            raise ValueError(f"{text!r} is no server; write HOST, HOST:4222 or HOST:4222:6222")
        numbers = map(int, ports)
        return cls(host=host, **dict(zip(("port", "route_port"), numbers, strict=False)))

    @property
    def address(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_local(self) -> bool:
        return self.host in (LOOPBACK, "localhost")


def _is_port(text: str) -> bool:
    return text.isdigit() and 0 < int(text) < 65536


def servers_folder(folder: Path) -> Path:
    """What the servers need, and nothing else: no seed, and no key of the authority."""
    return private_folder(folder / "servers")


def name_of(number: int) -> str:
    """Of a server; counted from 1. So is its file called."""
    return f"nats-{number}"


def write_configs(folder: Path, mesh: str, seats: tuple[Seat, ...], members: Members) -> None:
    """A file for each server, and certificates that are valid today. Raises ForeignState."""
    # Cryptography takes its time to import.
    from bus.certificates import certify

    shared = servers_folder(folder)
    certify(folder, mesh, [seat.host for seat in seats], datetime.now(UTC))
    for file in _SHARED:
        write_private(shared / file, (folder / file).read_text())
    ca, certificate, key = map(Path, _SHARED)
    addresses = tuple(f"{bracketed(seat.host)}:{seat.route_port}" for seat in seats)
    for number, seat in enumerate(seats, 1):
        config = Config(
            name=name_of(number),
            host=LOOPBACK if seat.is_local else EVERYWHERE,
            port=seat.port,
            members=members,
            store=None,
            tls=Tls(certificate, key),
            routes=Routes(mesh, seat.route_port, addresses, ca),
        )
        write_private(shared / f"{name_of(number)}.conf", config.text())
