"""Asking a gateway whether it serves."""

import asyncio

import pytest

from ops import probe


@pytest.mark.parametrize(
    ("answer", "parsed"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", (200, b"{}")),
        (b"HTTP/1.0 503\r\n\r\n", (503, b"")),
        (b"", (0, b"")),
        (b"SSH-2.0-OpenSSH\r\n", (0, b"")),
    ],
)
async def test_an_answer_is_a_status_and_a_body(answer: bytes, parsed: tuple[int, bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        assert await probe.fetch("127.0.0.1", port, "/ready") == parsed


async def test_nobody_there_is_status_zero() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert await probe.fetch("127.0.0.1", port, "/ready") == (0, b"")
