"""A client that may leave at any moment, which no HTTP library lets it do so plainly."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.mesh.house import Mesh


class Socket:
    """One request on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def send(cls, mesh: Mesh, path: str, body: dict[str, Any]) -> "AsyncIterator[Socket]":
        content = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        socket = cls(reader, writer)
        try:
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            await writer.drain()
            yield socket
        finally:
            await socket.leave()

    async def read_until(self, word: bytes) -> None:
        async with asyncio.timeout(20):
            await self._reader.readuntil(word)

    async def read_all(self, last: bytes) -> bytes:
        """Up to and with its last word; what is not read yet fills no more than buffers."""
        body = bytearray()
        async with asyncio.timeout(40):
            while not body.endswith(last):
                piece = await self._reader.read(1 << 16)
                assert piece, f"hung up after {len(body)} bytes"
                body += piece
        return bytes(body)

    async def leave(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
