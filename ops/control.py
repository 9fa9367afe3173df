"""The door by which commands reach the supervisor of a home: a socket for its owner alone.

A question is one line, the names of services; answers are lines of progress, the last of which says
how it ended.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ops.child import NotRenewed
from ops.supervisor import Supervisor

DONE, FAILED, STEP = "done", "failed", "step"


class NobodyAtHome(Exception):
    """No supervisor answers for a home."""


def _sign(home: Path) -> Path:
    """Points to the socket, which lies where its path is short: systems allow about 100 bytes."""
    return home / "control"


async def answer(home: Path, supervisor: Supervisor, services: Sequence[str]) -> None:
    """Renew what is asked for, one question after the other, until cancelled."""
    turn = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            asked = (await reader.readline()).decode().split()
            async with turn:
                async for kind, text in _renewed(supervisor, asked or services):
                    writer.write(f"{kind} {text}\n".encode())
                    await writer.drain()
        writer.close()

    folder = Path(tempfile.mkdtemp(prefix="odyssai-"))
    sign = _sign(home)
    try:
        server = await asyncio.start_unix_server(serve, folder / "control")
        sign.unlink(missing_ok=True)
        sign.symlink_to(folder / "control")
        async with server:
            await asyncio.Event().wait()
    finally:
        sign.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _renewed(
    supervisor: Supervisor, services: Sequence[str]
) -> AsyncIterator[tuple[str, str]]:
    for service in services:
        yield STEP, f"{service}: starting anew"
        try:
            await supervisor.renew(service)
        except NotRenewed as error:
            yield FAILED, str(error)
            return
        yield STEP, f"{service}: serves"
    yield DONE, ""


async def renew(home: Path, services: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    """Kind and text of what the supervisor answers. Raises NobodyAtHome."""
    try:
        path = _sign(home).readlink()
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise NobodyAtHome(f"no `odyssai up` runs on {home}") from error
    try:
        writer.write(f"{' '.join(services)}\n".encode())
        while line := await reader.readline():
            kind, _, text = line.decode().rstrip("\n").partition(" ")
            yield kind, text
            if kind in (DONE, FAILED):
                return
        raise NobodyAtHome("`odyssai up` ended meanwhile")
    finally:
        writer.close()
