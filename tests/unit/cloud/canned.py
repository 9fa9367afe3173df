"""A server on loopback that gives every question the same answer, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Canned:
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    """The heads of the requests."""


@asynccontextmanager
async def canned(
    body: bytes, status: int = 200, headers: tuple[str, ...] = ()
) -> AsyncIterator[Canned]:
    """The answer ends with its connection."""
    told = Canned()
    lines = [f"HTTP/1.1 {status} Told", "connection: close", *headers, "", ""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write("\r\n".join(lines).encode() + body)
        with suppress(OSError):
            await writer.drain()
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield told
