"""The private parts of nats-py that the token path leans on are still where they were."""

import asyncio
import subprocess
import sys

import uvloop
from nats.aio.client import Client

from bus.connection import Bus
from bus.hotpath import HotParser
from bus.stream import TokenSource
from proto.frames import Delta
from proto.ids import EngineId, GatewayId, RequestId, fresh
from proto.subjects import STREAM
from tests.mesh.house import ROOT


async def test_the_hot_parser_reads_tokens_also_after_other_traffic(nats_url: str) -> None:
    gateway = GatewayId(f"g.{fresh()}")
    async with (
        Bus.connect(nats_url, f"test:{fresh()}") as bus,
        TokenSource.connect(bus, gateway) as source,
    ):
        stream = source.open(RequestId("r"))
        stream.attach(EngineId("n.e"), 0)
        address = STREAM.at(gateway, "n.e", "r")
        for seq in range(3):
            body = STREAM.encode(Delta(0, seq, "x", (1,)))
            await bus._client.publish(address, body)
            await bus.settled()

        async with asyncio.timeout(5):
            while stream.want < 3:
                await asyncio.sleep(0)


async def test_the_parser_takes_split_and_joined_messages() -> None:
    heard: list[tuple[bytes, bytes]] = []
    client = Client()
    parser = HotParser(client, 7, lambda subject, body: heard.append((subject, body)))
    address = STREAM.at("g.1", "n.e", "r").encode()
    wire = b"".join(
        b"MSG %b 7 %d\r\n%b\r\n" % (address, len(body), body)
        for body in (b"one", b"", b"two\r\nMSG x", b"x" * 5000)
    )
    for size in (1, 3, 7, 64, len(wire)):
        heard.clear()
        for at in range(0, len(wire), size):
            await parser.parse(wire[at : at + size])
        assert [body for _, body in heard] == [b"one", b"", b"two\r\nMSG x", b"x" * 5000]
        assert {subject for subject, _ in heard} == {address}


def test_a_connection_whose_socket_died_a_moment_ago_closes_without_a_word(nats_url: str) -> None:
    async def run() -> None:
        async with Bus.connect(nats_url, "test:dying") as bus:
            bus._client._transport._io_writer.transport.abort()
            await asyncio.sleep(0)
            # Said on the way out, as a farewell is.
            await bus._client.publish("test.farewell", b"gone")

    uvloop.run(run())


def test_the_bus_does_not_load_what_only_websockets_need() -> None:
    program = (
        "import sys, bus.connection; without = 'aiohttp' not in sys.modules; import aiohttp\n"
        "from nats.aio import transport; print(without, transport.aiohttp)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout == "True None\n"
