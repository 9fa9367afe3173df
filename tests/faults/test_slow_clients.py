"""Clients that do not read, a hundred of them, and a reader of telemetry that does not either."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import nats
import nkeys
import openai

from bus.address import Address
from bus.connection import Bus
from proto.subjects import ALERT_TELEMETRY
from proto.telemetry import Alert
from tests.mesh.asking import Reader, chat, greedy_text, posted
from tests.mesh.house import Mesh, soon
from tests.mesh.telemetry import Telemetry

CLIENTS = 100
TOKENS = 250
RECEIVED_BYTES = 4096
"""The least that a client's own system takes for it."""
ALTERNATIVES = {"logprobs": True, "top_logprobs": 10}
"""They make tokens long, so that few of them fill what there is to fill."""
MOST_BYTES = 40 << 20
"""More of the gateway: 0.4 MiB a client."""
FLOOD_BYTES = 48 << 20
CUT_S = 10.0


@contextmanager
def reluctant(mesh: Mesh, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A client that asked and takes nothing."""
    content = json.dumps(body).encode()
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        link.connect(("127.0.0.1", mesh.port))
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        link.sendall(head.encode() + content)
        yield link


def stalled(number: int) -> dict[str, Any]:
    return chat(content=f"{number}?", max_tokens=TOKENS, stream=True, **ALTERNATIVES)


def read_on(link: socket.socket) -> str:
    """The text of all there is to read, until the stream ends."""
    link.settimeout(40)
    body = b""
    while not body.endswith(b"0\r\n\r\n"):
        piece = link.recv(1 << 16)
        assert piece, "hung up"
        body += piece
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    chunks = [json.loads(event) for event in events]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


async def test_a_hundred_that_do_not_read_are_parked_and_one_that_reads_on_misses_nothing(
    mesh: Mesh, telemetry: Telemetry, async_gpt: openai.AsyncOpenAI
) -> None:
    wanted = await asyncio.to_thread(
        posted, mesh, "/v1/chat/completions", stalled(7) | {"stream": False}
    )
    undisturbed = await greedy_text(async_gpt, max_tokens=200)
    gateway = mesh.process_of("gateway")
    before = gateway.memory_info().rss
    with ExitStack() as stack:
        links = [stack.enter_context(reluctant(mesh, stalled(n))) for n in range(CLIENTS)]
        parked = await telemetry.engine(lambda b: b["parked"] == CLIENTS, within_s=40)
        grown = gateway.memory_info().rss - before

        beside = await greedy_text(async_gpt, max_tokens=200)
        text = await asyncio.to_thread(read_on, links[7])

    assert (parked["running"], parked["queued"]) == (0, 0)
    assert grown < MOST_BYTES
    assert beside == undisturbed
    assert text == wanted.json()["choices"][0]["message"]["content"]
    await telemetry.idle()


@asynccontextmanager
async def deaf_reader(mesh: Mesh) -> AsyncIterator[asyncio.StreamReader]:
    """It subscribes to all telemetry, as operators may, and reads none of it."""
    access = mesh.access
    reader, writer = await asyncio.open_connection(access.host, access.port, limit=RECEIVED_BYTES)
    address = Address.parse(access.url("ops"))
    assert address.seed
    key = nkeys.from_seed(bytearray(address.seed.read_text().encode()))
    greeting = await reader.readuntil(b"\r\n")
    nonce = json.loads(greeting.removeprefix(b"INFO "))["nonce"]
    signed = base64.urlsafe_b64encode(key.sign(nonce.encode())).rstrip(b"=").decode()
    login = {"nkey": key.public_key.decode(), "sig": signed, "verbose": False, "pedantic": False}
    writer.write(b"CONNECT %b\r\nSUB telemetry.> 1\r\nPING\r\n" % json.dumps(login).encode())
    await reader.readuntil(b"PONG\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_a_reader_of_telemetry_that_does_not_read_is_cut_and_tokens_flow_on(
    mesh: Mesh, async_gpt: openai.AsyncOpenAI
) -> None:
    undisturbed = await greedy_text(async_gpt, max_tokens=600)
    server = mesh.process_of("nats-server")
    cut = asyncio.Event()
    watching = await nats.connect(**Address.parse(mesh.access.url("sys")).dialled("test:sys"))
    try:

        async def hear(mail: Any) -> None:
            if "Slow Consumer" in json.loads(mail.data)["reason"]:
                cut.set()

        await watching.subscribe("$SYS.ACCOUNT.*.DISCONNECT", cb=hear)
        await watching.flush()
        async with deaf_reader(mesh), Bus.connect(mesh.access.url("health"), "test:flood") as bus:
            before = server.memory_info().rss
            reader = Reader(async_gpt, max_tokens=600)
            await reader.until_under_way()
            alert = Alert(alert="engine_gone", subject="x", detail="x" * 100_000, at_s=0.0)
            for _ in range(FLOOD_BYTES // 100_000):
                await bus.publish(ALERT_TELEMETRY, alert, "test")
            async with asyncio.timeout(CUT_S):
                await cut.wait()
            assert (await reader.whole()).text == undisturbed
            await soon(lambda: server.memory_info().rss - before < 2 * FLOOD_BYTES)
    finally:
        await watching.close()
