"""How connections end with their gateway: never in the moment in which their client asks."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from services.gateway.http.crowd import Bounds
from services.gateway.http.listening import listen
from services.gateway.http.server import HttpServer

BOUNDS = Bounds(connections=20, per_address=0, patience_s=30)
LINGER_S = 0.3
ASK = b"GET /%b HTTP/1.1\r\nhost: localhost\r\n\r\n"
WHOLE = b"0\r\n\r\n"


class Parting:
    """A server whose answers to /long end when they may, and its clients."""

    def __init__(self, server: HttpServer, port: int, may_end: asyncio.Event) -> None:
        self.server = server
        self.may_end = may_end
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def client(self) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        return Client(reader, writer)

    def part(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.server.part(LINGER_S))

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def ask(self, path: bytes = b"") -> None:
        self._writer.write(ASK % path)

    async def head(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n\r\n")).lower()

    async def answered(self) -> bytes:
        """Its head, once all of it is there."""
        head = await self.head()
        await self._reader.readuntil(WHOLE)
        return head

    async def rest(self) -> bytes:
        """Until the server hangs up."""
        return await self._reader.read()


@pytest.fixture
async def parting() -> AsyncIterator[Parting]:
    async with _parting() as made:
        yield made


@asynccontextmanager
async def _parting() -> AsyncIterator[Parting]:
    may_end = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"said", "more_body": True})
        if scope["path"] == "/long":
            await may_end.wait()
        await send({"type": "http.response.body", "body": b""})

    server = HttpServer(app, BOUNDS)
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        made = Parting(server, listening.getsockname()[1], may_end)
        try:
            yield made
        finally:
            made.close()
            may_end.set()
            server.should_exit = True
            await serving


async def test_who_asks_once_more_is_answered_and_told_to_connect_anew(parting: Parting) -> None:
    client = await parting.client()
    client.ask()
    assert b"connection: close" not in await client.answered()

    parted = parting.part()
    await asyncio.sleep(0)
    client.ask()

    assert b"connection: close" in await client.answered()
    assert await client.rest() == b""
    await parted


async def test_a_stream_that_began_before_leaves_its_connection_open_for_the_next_request(
    parting: Parting,
) -> None:
    client = await parting.client()
    client.ask(b"long")
    assert b"connection: close" not in await client.head()
    parted = parting.part()
    await asyncio.sleep(2 * LINGER_S)

    parting.may_end.set()
    await client._reader.readuntil(WHOLE)
    client.ask()

    assert b"connection: close" in await client.answered()
    await parted


async def test_who_asks_nothing_is_let_go_of_after_a_while(parting: Parting) -> None:
    never_asked, idle = await parting.client(), await parting.client()
    idle.ask()
    await idle.answered()

    began = asyncio.get_running_loop().time()
    await parting.part()

    assert asyncio.get_running_loop().time() - began >= LINGER_S
    assert await idle.rest() == await never_asked.rest() == b""


def test_a_request_that_came_while_the_server_was_late_is_answered() -> None:
    async def be_late() -> None:
        async with _parting() as parting:
            client = await parting.client()
            client.ask()
            await client.answered()
            loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()

            def be_busy() -> None:
                """Until the connection's time is over, as whoever reads much at once."""
                loop.remove_reader(ours)
                client.ask()
                time.sleep(2 * LINGER_S)

            with ours, theirs:
                parted = parting.part()
                await asyncio.sleep(0)
                loop.add_reader(ours, be_busy)
                theirs.send(b"!")

                assert b"connection: close" in await client.answered()
                await parted

    # The loop of the services, in which timers go before what has come.
    uvloop.run(be_late())
