"""A client that does not read: its engine holds, others go on, and in the end it is cut."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from bus.credit import WINDOW
from bus.stream import WATCH_S
from proto.frames import Delta, Progress
from tests.unit.gateway.scripted import MODEL, deltas, end, hello

PIECE = "x" * 1000
BODY_BYTES = 4096
"""Of the smallest receiving buffer that the client's socket may ask for."""
PIECES = 4000


async def endless(engine, asked):
    """Numbered pieces until it is held, and from then on as often as it may go on."""
    engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0))
    seq = 1
    while seq <= PIECES:
        if asked.request in engine.held:
            await asyncio.sleep(0.005)
            continue
        engine.send(asked, Delta(asked.epoch, seq, f"<{seq}>{PIECE}", (seq,)))
        engine.sent = seq
        seq += 1
        await asyncio.sleep(0)
    engine.send(asked, end(asked.epoch, seq, tokens=PIECES))


async def until(condition, within_s=30.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def reluctant(url: str, **asked) -> AsyncIterator[socket.socket]:
    """A client that asked and reads nothing until it is told to."""
    address = urlsplit(url)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BODY_BYTES)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, (address.hostname, address.port))
    body = json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **asked}
    ).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    asking = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    await asyncio.get_running_loop().sock_sendall(link, asking)
    try:
        yield link
    finally:
        link.close()


def is_reset(link: socket.socket) -> bool:
    """By an end that never comes in order, since what came before it is not read."""
    return bool(link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


async def test_an_engine_runs_no_further_ahead_than_a_window(url, scripted, http):
    scripted.script = endless
    async with reluctant(url, stream=True) as link:
        await until(lambda: scripted.held)
        ahead = scripted.sent
        scripted.script = hello
        answer = await http.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
        )
        assert answer.json()["choices"][0]["message"]["content"] == "Hello world"
        assert scripted.sent == ahead < PIECES
        assert scripted.held

        reader, writer = await asyncio.open_connection(sock=link, limit=1 << 24)
        async with asyncio.timeout(30):
            body = await reader.readuntil(b"[DONE]")
        writer.close()

    numbers = [int(number) for number in re.findall(rb"<(\d+)>", body)]
    assert numbers == list(range(1, PIECES + 1))


async def test_a_whole_answer_is_not_held_however_much_of_it_comes_before_its_acceptance(
    scripted, http
):
    """Its engine would stand still, and forget the beginning that another gateway may need."""

    async def speak_first():
        asked = scripted.asked[-1]
        scripted.sink.open(asked.request, asked.gateway)
        words = deltas(asked.epoch, *["word "] * (2 * WINDOW))
        scripted.send(asked, Progress(asked.epoch, 0, 10, 10, 0), *words)
        await scripted.sink.settled()
        # So that the gateway has looked at what waits for its reader.
        await asyncio.sleep(2 * WATCH_S)

    async def finish(engine, asked):
        engine.send(asked, end(asked.epoch, 2 * WINDOW + 1, tokens=2 * WINDOW))

    scripted.before_accepting, scripted.script = speak_first, finish
    answer = await http.post(
        "/v1/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    )

    assert answer.json()["choices"][0]["message"]["content"] == "word " * (2 * WINDOW)
    assert not scripted.held


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setenv("ODYSSAI_STALL_S", "1")


@pytest.mark.usefixtures("_impatient")
async def test_who_reads_nothing_for_long_is_cut_and_the_record_says_why(url, scripted, events):
    scripted.script = endless
    async with reluctant(url, stream=True), reluctant(url, stream=False) as whole:
        async with asyncio.timeout(30):
            assert await scripted.cancelled.get() == scripted.asked[0].request
            told = [await events.get() for _ in range(2)]
        assert sorted(event.status for event in told) == ["ok", "stalled"]

        # What has been answered, and is not read, is not kept for ever either.
        await until(lambda: is_reset(whole))
    assert scripted.sent > WINDOW
