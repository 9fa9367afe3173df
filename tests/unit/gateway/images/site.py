"""A small web server that behaves as it is told, byte by byte: for what no good server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PNG = b"\x89PNG\r\n\x1a\n" + b"any bytes behind the signature"

Page = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes = PNG, status: str = "200 OK", content_type: str = "image/png", **headers: str
) -> Page:
    async def write(to: asyncio.StreamWriter) -> None:
        said = {"content-length": str(len(body)), "content-type": content_type}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
        to.write(f"HTTP/1.1 {status}\r\n{lines}connection: close\r\n\r\n".encode() + body)
        await to.drain()

    return write


def redirect(to: str) -> Page:
    return answer(b"", "302 Found", "", location=to)


async def endless(to: asyncio.StreamWriter) -> None:
    """A body in chunks that never ends."""
    to.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: image/png\r\n\r\n")
    while True:
        to.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await to.drain()


async def slow(to: asyncio.StreamWriter) -> None:
    """One byte now and then: never silent, never done."""
    to.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\ncontent-type: image/png\r\n\r\n")
    while True:
        to.write(b"x")
        await to.drain()
        await asyncio.sleep(0.01)


@dataclass
class Site:
    port: int
    pages: dict[str, Page]
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.asked.append(path)
            self.hosts += [
                line[5:].strip() for line in head.split("\r\n") if line.lower().startswith("host:")
            ]
            await self.pages.get(path, answer(b"", "404 Not Found", ""))(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def site(tls: ssl.SSLContext | None = None, **pages: Page) -> AsyncIterator[Site]:
    """``pages`` by their path without its slash."""
    made = Site(0, {f"/{name}": page for name, page in pages.items()})
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        try:
            await made.serve(reader, writer)
        finally:
            handling.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
