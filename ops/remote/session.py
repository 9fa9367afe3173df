"""One ssh connection to a machine: commands run there, files read and written.

Who answers is proven by known_hosts, always; keys come from ssh's agent and files, as ssh's own
settings say. Nothing secret stands in a command line: it is written to a command's input or a file.
"""

import asyncio
import shlex
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import asyncssh
from asyncssh import SSHClientConnection, SSHClientConnectionOptions, SSHKey

from ops.remote.errors import (
    ChangedHostKey,
    CommandFailed,
    NotLetIn,
    NotVerified,
    RemoteError,
    UnknownHostKey,
    Unreachable,
)
from ops.remote.host import Host

CONNECT_S = 15.0
COMMAND_S = 60.0
"""Most commands take a moment; what takes longer says so."""
ALIVE_S = 10.0
"""Between two signs of life; three that are missing are a lost connection."""
KNOWN_HOSTS = Path("~/.ssh/known_hosts")
"""Where ssh's own settings name no other."""
TOLD_LINES = 8
"""Of what a command that failed has said."""


class Session:
    """``run`` and the files raise CommandFailed and Unreachable."""

    def __init__(self, host: Host, connection: SSHClientConnection) -> None:
        self.host = host
        self._connection = connection

    async def run(self, script: str, given: str = "", within_s: float = COMMAND_S) -> str:
        """What the script says; ``given`` is its input."""
        status, said, complained = await self._ran(script, given, within_s)
        if status != 0:
            raise CommandFailed(f"{self.host}: {_end_of(complained or said, status)}")
        return said

    async def succeeds(self, script: str) -> bool:
        """Whether its status is 0."""
        return (await self._ran(script, "", COMMAND_S))[0] == 0

    async def _ran(self, script: str, given: str, within_s: float) -> tuple[int, str, str]:
        # Whatever shell the user has only needs to start this one.
        command = f"exec /bin/sh -c {shlex.quote(script)}"
        try:
            async with asyncio.timeout(within_s):
                done = await self._connection.run(command, input=given)
        except TimeoutError as error:
            raise CommandFailed(f"{self.host}: no answer within {within_s:g} s") from error
        except (asyncssh.Error, OSError) as error:
            raise _lost(self.host, error) from error
        status = -1 if done.returncode is None else done.returncode
        return status, str(done.stdout or ""), str(done.stderr or "")

    async def follow(self, script: str) -> AsyncGenerator[str]:
        """Line for line, until it ends or nobody listens."""
        command = f"exec /bin/sh -c {shlex.quote(script)}"
        try:
            async with self._connection.create_process(command, stderr=asyncssh.STDOUT) as process:
                async for line in process.stdout:
                    yield str(line).rstrip("\n")
        except (asyncssh.Error, OSError) as error:
            raise _lost(self.host, error) from error

    async def read(self, path: str) -> bytes | None:
        """None where there is no such file."""
        try:
            async with (
                asyncio.timeout(COMMAND_S),
                self._connection.start_sftp_client() as sftp,
                sftp.open(path, "r") as file,
            ):
                return str(await file.read()).encode()
        except asyncssh.SFTPNoSuchFile:
            return None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise CommandFailed(f"{self.host}: {path} cannot be read: {error}") from error

    async def write(self, path: str, text: str) -> None:
        """For its owner's eyes only; whole or not at all."""
        draft, attributes = f"{path}.new", asyncssh.SFTPAttrs(permissions=0o600)
        try:
            async with (
                asyncio.timeout(COMMAND_S),
                self._connection.start_sftp_client() as sftp,
            ):
                with suppress(asyncssh.SFTPNoSuchFile):
                    await sftp.remove(draft)
                async with sftp.open(draft, "wb", attributes) as file:
                    await file.write(text.encode())
                await sftp.posix_rename(draft, path)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise CommandFailed(f"{self.host}: {path} cannot be written: {error}") from error

    async def upload(self, file: Path, path: str) -> None:
        try:
            async with (
                asyncio.timeout(COMMAND_S),
                self._connection.start_sftp_client() as sftp,
            ):
                await sftp.put(str(file), path)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise CommandFailed(f"{self.host}: {path} cannot be written: {error}") from error


@asynccontextmanager
async def connect(host: Host) -> AsyncIterator[Session]:
    """Raises Unreachable, UnknownHostKey, ChangedHostKey, NotVerified, NotLetIn."""
    connection = await _connected(host)
    try:
        yield Session(host, connection)
    finally:
        connection.close()
        with suppress(asyncssh.Error, OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await connection.wait_closed()


async def _connected(host: Host) -> SSHClientConnection:
    try:
        async with asyncio.timeout(CONNECT_S):
            options = await SSHClientConnectionOptions.construct(
                **_where(host),
                keepalive_interval=ALIVE_S,
                # Nobody is asked for a password: hosts are many, and in parallel.
                password_auth=False,
                kbdint_auth=False,
            )
            if options.known_hosts is None:
                raise NotVerified(
                    f"{host}: ssh's settings switch the check of host keys off "
                    "(UserKnownHostsFile none), and odyssai does not go on without"
                )
            # Said again, so that nothing that is read on the way can say otherwise.
            return await asyncssh.connect(
                host.name, host.port or (), options=options, known_hosts=_files(options)
            )
    except TimeoutError as error:
        raise Unreachable(f"{host} does not answer within {CONNECT_S:g} s") from error
    except (asyncssh.ConfigParseError, asyncssh.KeyImportError) as error:
        raise NotLetIn(f"{host}: ssh's settings cannot be used: {error}") from error
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        raise await _unproven(host, error) from error
    except asyncssh.PermissionDenied as error:
        raise NotLetIn(
            f"{host} accepts none of your keys; `ssh-copy-id {_typed(host)}` gives it one, and a "
            "key with a passphrase has to be in the agent: `ssh-add`"
        ) from error
    except (asyncssh.Error, OSError) as error:
        raise Unreachable(f"{host} cannot be reached: {_words(error)}") from error


async def _unproven(host: Host, error: Exception) -> RemoteError:
    """Whether its key is new to us, or another than the one that we know."""
    shown = await _shown_key(host)
    key = f"{shown.get_algorithm()} {shown.get_fingerprint()}" if shown else "a key"
    if isinstance(error, asyncssh.KeyExchangeFailed) and shown is None:
        return Unreachable(f"{host} speaks no ssh that we do: {error}")
    if await _is_known(host):
        return ChangedHostKey(
            f"{host} shows {key}, and known_hosts knows another. Either it was installed anew or "
            "somebody stands between. If you know why: "
            f"`ssh-keygen -R {shlex.quote(_known_as(host))}`, then `ssh {_typed(host)}` once."
        )
    return UnknownHostKey(
        f"known_hosts has no key of {host.place}, which shows {key}. Compare that with what the "
        "machine itself says: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`. If they are "
        f"equal, `ssh {_typed(host)}` once adds it."
    )


async def _shown_key(host: Host) -> SSHKey | None:
    try:
        async with asyncio.timeout(CONNECT_S):
            return await asyncssh.get_server_host_key(host.name, host.port or ())
    except (asyncssh.Error, OSError, TimeoutError):
        return None


async def _is_known(host: Host) -> bool:
    options = await SSHClientConnectionOptions.construct(**_where(host))
    port = options.port if options.port != asyncssh.DEFAULT_PORT else None
    name = options.host_key_alias or options.host or host.name
    try:
        return bool(asyncssh.match_known_hosts(_files(options), name, name, port)[0])
    except (OSError, ValueError):
        return False


def _files(options: SSHClientConnectionOptions) -> list[str] | bytes:
    """Those that there are. With none, no machine is known: an empty list asyncssh 2.24 cannot
    read, where it wants to know about a machine.
    """
    named = cast(list[str], options.known_hosts) or [str(KNOWN_HOSTS)]
    there = [Path(name).expanduser() for name in named]
    return [str(file) for file in there if file.is_file()] or b""


def _where(host: Host) -> dict[str, object]:
    said = {"host": host.name, "port": host.port, "username": host.user}
    # Without a word about it, asyncssh 2.24 reads ssh's settings in connect() only.
    return {"config": ()} | {name: value for name, value in said.items() if value}


def _typed(host: Host) -> str:
    """As ssh takes it."""
    at = f"{host.user}@" if host.user else ""
    return f"-p {host.port} {at}{host.name}" if host.port else f"{at}{host.name}"


def _known_as(host: Host) -> str:
    return f"[{host.name}]:{host.port}" if host.port else host.name


def _lost(host: Host, error: Exception) -> Unreachable:
    return Unreachable(f"the connection to {host} was lost: {_words(error)}")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _end_of(said: str, status: int) -> str:
    lines = [line for line in said.strip().splitlines() if line.strip()][-TOLD_LINES:]
    return "\n  ".join(lines) or f"a command ended with status {status} and no word"
