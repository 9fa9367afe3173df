"""A link carries bytes both ways, carries nothing while it is a hole, and can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from ops.bench._chaos.pipe import HOST, Carrier
from ops.bench._children import free_port

SOON_S = 5.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def link() -> AsyncIterator[Carrier]:
    """To a server that says what it hears, after one that is not there."""
    served: list[asyncio.Task[None]] = []

    def serve(*streams: Any) -> None:
        served.append(asyncio.create_task(_echo(*streams)))

    server = await asyncio.start_server(serve, HOST, 0)
    carrier = Carrier([free_port(), server.sockets[0].getsockname()[1]])
    await carrier.start()
    yield carrier
    await carrier.close()
    server.close()
    await asyncio.gather(*served)


async def said(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    async with asyncio.timeout(SOON_S):
        return await reader.readexactly(len(data))


async def test_it_carries_all_bytes_to_the_target_that_is_there(link: Carrier) -> None:
    data = bytes(range(256)) * 4000

    for _ in range(3):
        streams = await asyncio.open_connection(HOST, link.port)
        assert await said(streams, data) == data
        streams[1].close()


async def test_a_hole_swallows_nothing_and_tells_nobody(link: Carrier) -> None:
    before = await asyncio.open_connection(HOST, link.port)
    assert await said(before, b"one") == b"one"

    link.hole()
    during = await asyncio.open_connection(HOST, link.port)
    for _, writer in (before, during):
        writer.write(b"two")
    link.heal()

    for reader, writer in (before, during):
        async with asyncio.timeout(SOON_S):
            assert await reader.readexactly(3) == b"two"
        writer.close()


async def test_a_cut_breaks_what_is_open_and_nothing_else(link: Carrier) -> None:
    reader, writer = await asyncio.open_connection(HOST, link.port)
    assert await said((reader, writer), b"one") == b"one"

    link.cut()

    async with asyncio.timeout(SOON_S):
        assert await _rest(reader) == b""
    writer.close()
    streams = await asyncio.open_connection(HOST, link.port)
    assert await said(streams, b"two") == b"two"
    streams[1].close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_it_ends_also_after_a_target_that_was_away() -> None:
    carrier = Carrier([free_port()])
    await carrier.start()
    reader, writer = await asyncio.open_connection(HOST, carrier.port)

    async with asyncio.timeout(SOON_S):
        assert await _rest(reader) == b""
        await carrier.close()
    writer.close()
