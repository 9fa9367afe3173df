"""A gateway that is asked to end: what it still does, and what it says."""

import asyncio
from typing import Any

import httpx
import pytest

from services.gateway import drain
from services.host import Host
from tests.unit.gateway.scripted import MODEL, ScriptedEngine, deltas, end

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


class Slow:
    """Says one word, and the rest when it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, engine: ScriptedEngine, asked: Any) -> None:
        engine.send(asked, *deltas(asked.epoch, "Hello", start=0))
        await self.may_end.wait()
        engine.send(asked, *deltas(asked.epoch, " world", start=1), end(asked.epoch, 2))


@pytest.fixture
def slow(scripted: ScriptedEngine) -> Slow:
    scripted.script = slow = Slow()
    return slow


async def test_a_kept_connection_is_answered_and_told_to_come_no_more(http, host: Host):
    assert (await http.get("/ready")).status_code == 200
    host.end()

    last = await http.get("/ready")

    assert (last.status_code, last.headers["connection"]) == (503, "close")
    with pytest.raises(httpx.ConnectError):
        await http.get("/ready")


async def test_what_runs_finishes_within_the_grace(http, host: Host, slow: Slow, monkeypatch):
    monkeypatch.setattr(drain, "LINGER_S", 0.05)
    async with http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        host.end()
        slow.may_end.set()
        rest = [line async for line in lines]

    assert rest[-2] == "data: [DONE]"


async def test_what_does_not_finish_is_told_why(http, host: Host, slow: Slow, monkeypatch):
    monkeypatch.setattr(drain, "LINGER_S", 0.05)
    async with http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        host.end()
        rest = "".join([line async for line in lines])

    assert "This gateway is stopping" in rest
    assert "[DONE]" not in rest


async def test_where_a_successor_serves_what_runs_may_take_longer_than_the_grace(
    http, host: Host, slow: Slow, monkeypatch
):
    monkeypatch.setattr(drain, "LINGER_S", 0.05)
    monkeypatch.setattr(http, "timeout", 10)
    async with http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        host.hand_over()
        await asyncio.sleep(0.8)  # The grace of these tests is half a second.
        slow.may_end.set()
        rest = [line async for line in lines]

    assert rest[-2] == "data: [DONE]"
