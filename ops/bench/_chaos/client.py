"""A client as plain as can be: one request on a connection of its own, read as it comes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from ops.bench._chaos.answer import Broken, Failure
from ops.bench._chaos.pipe import HOST
from ops.bench._chaos.reading import Reading

LINE = 1 << 20
"""Most bytes of a line or a chunk."""
SMALL = 4096
"""Bytes that the system takes for a client that reads slowly."""
SILENT_S = 60.0
"""Longer than anything that the mesh lets a client wait without a sign of life."""
_DATA, _EVENT_END = b"data: ", b"\n\n"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Manner:
    """How a client behaves."""

    leaves_after: int | None = None
    """Events of a stream after which it hangs up; None: it stays."""
    pause_s: float = 0.0
    """Between two reads of a client that takes little at a time."""
    doomed_key: str = ""
    """One that is revoked while its answers are under way; empty: the bench's own is shown."""


@dataclass(frozen=True)
class Door:
    """Where the mesh is asked, and the API key that is shown there."""

    port: int
    key: str = ""

    async def order(self, method: str, path: str, body: Any = None) -> Any:
        """What an admin's request is answered. Raises Failure and Broken."""
        async with Connection.open(self) as connection:
            await connection.send(path, b"" if body is None else encoded(body), {}, method)
            said = b"".join([piece async for piece in connection.body()])
            if connection.status >= 300:
                raise Failure(connection.status, said.decode(errors="replace")[:500])
            return _decode(said) if said else None


class Left(Exception):
    """The client hung up, as it was to."""


class Connection:
    """One request and its answer. Whatever breaks the connection is Broken."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, door: Door, *, is_slow: bool = False) -> "AsyncIterator[Connection]":
        """Raises Broken."""
        try:
            reader, writer = await asyncio.open_connection(HOST, door.port, limit=LINE)
        except OSError as error:
            raise Broken(str(error)) from error
        if is_slow:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        try:
            yield cls(reader, writer, door.key)
        finally:
            writer.transport.abort()

    async def send(
        self, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST"
    ) -> None:
        """Returns when the head of the answer is there. Raises Broken."""
        told = {
            "Host": HOST,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def body(self) -> AsyncIterator[bytes]:
        """Its bytes as they come. Raises Broken."""
        if "content-length" in self.headers:
            yield await self._exactly(int(self.headers["content-length"]))
            return
        while size := int((await self._until(b"\r\n")).strip(), 16):
            yield (await self._exactly(size + 2))[:-2]

    async def _until(self, end: bytes) -> bytes:
        try:
            async with asyncio.timeout(SILENT_S):
                return await self._reader.readuntil(end)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _broken(error) from error

    async def _exactly(self, size: int) -> bytes:
        try:
            async with asyncio.timeout(SILENT_S):
                return await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _broken(error) from error


def _broken(error: Exception) -> Exception:
    if isinstance(error, TimeoutError):
        return Failure(0, f"nothing was heard for {SILENT_S:g} s")
    return Broken(str(error) or type(error).__name__)


async def ask(
    connection: Connection,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    reading: Reading,
    manner: Manner,
) -> None:
    """Read the whole answer into ``reading``. Raises Broken, Failure, Left, and what it hears."""
    await connection.send(path, body, headers)
    if connection.status != 200:
        raise await _refusal(connection)
    if not connection.headers.get("content-type", "").startswith("text/event-stream"):
        reading.whole(_decode(b"".join([piece async for piece in connection.body()])))
        return
    heard = 0
    async for event in _events(connection, manner.pause_s):
        if event == b"[DONE]":
            reading.done()
            continue
        reading.event(_decode(event))
        heard += 1
        if heard == manner.leaves_after:
            raise Left
    if not reading.answer.is_whole:
        raise Failure(200, "the stream ended without an end")


async def _events(connection: Connection, pause_s: float) -> AsyncIterator[bytes]:
    """What stands behind ``data:``; comments are passed over."""
    rest = b""
    async for piece in connection.body():
        *events, rest = (rest + piece).split(_EVENT_END)
        for event in events:
            at = event.find(_DATA)
            if not event.startswith(b":") and at >= 0:
                yield event[at + len(_DATA) :]
        if pause_s:
            await asyncio.sleep(pause_s)


async def _refusal(connection: Connection) -> Failure:
    said = b"".join([piece async for piece in connection.body()])
    after = connection.headers.get("retry-after")
    return Failure(
        connection.status, said.decode(errors="replace")[:500], float(after) if after else None
    )


def encoded(body: Any) -> bytes:
    return msgspec.json.encode(body)
