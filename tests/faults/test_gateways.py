"""Gateways die: others serve on at once, and engines do not work for the dead."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from tests.faults.balancer import balancing
from tests.mesh.asking import LONG, Reader, chat
from tests.mesh.house import Command, Mesh, free_port, until
from tests.mesh.telemetry import Telemetry

RELEASED_S = 3.0 + 1.0
"""Within which requests of the dead end, and within which the next heartbeat says so."""
LOAD_S = 3.0
"""What a busy machine may add."""
ANSWER = 2000
"""Tokens of an answer that takes longer than its gateway lives."""


@dataclass
class Gateway:
    """One more of the mesh, for a test to kill."""

    command: Command
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=40
        )


@pytest.fixture
def gateways(mesh: Mesh) -> Iterator[list[Gateway]]:
    ports = [free_port() for _ in range(3)]
    started = [
        Gateway(Command("gateway", "--home", str(mesh.home), "--port", str(port)), port)
        for port in ports
    ]
    for each in started:
        until(each.is_ready, 30, "another gateway")
    yield started
    for each in started:
        if each.command.process.poll() is None:
            each.command.process.send_signal(signal.SIGCONT)
        each.command.end()


async def served_at_once(url: str) -> None:
    """Whoever asks again reaches another gateway."""
    for _ in range(4):
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            answer = await http.post("/v1/chat/completions", json=chat(max_tokens=2))
        assert answer.status_code == 200
        assert time.monotonic() - began < 1.0 + LOAD_S


@pytest.mark.timeout(180)
async def test_engines_stop_for_gateways_that_died_and_hand_over_what_is_asked_for_again(
    mesh: Mesh, gateways: list[Gateway], telemetry: Telemetry
) -> None:
    """One is killed under a stream, one stands still, one is killed over a request with a key."""
    killed, stopped, dying = gateways
    body, key = chat(model="roomy", max_tokens=ANSWER), {"Idempotency-Key": "tides and moons"}
    before = await telemetry.idle()
    async with (
        killed.client() as one,
        stopped.client() as other,
        httpx.AsyncClient(timeout=60, trust_env=False) as http,
    ):
        readers = [
            await Reader(client, max_tokens=LONG).until_under_way() for client in (one, other)
        ]
        asking = asyncio.create_task(
            http.post(f"{dying.url}/v1/chat/completions", json=body, headers=key)
        )
        since = telemetry.now
        for model, running in (("tiny", 2), ("roomy", 1)):
            await telemetry.engine(is_at(model, running), since=since)
        for each in (killed, dying):
            each.command.process.kill()
        stopped.command.process.send_signal(signal.SIGSTOP)
        released = asyncio.create_task(
            telemetry.engine(is_at("tiny", 0), since=telemetry.now, within_s=RELEASED_S + LOAD_S)
        )
        with pytest.raises(httpx.HTTPError):
            await asking

        again = [
            await http.post(f"{mesh.url}/v1/chat/completions", json=body, headers=key)
            for _ in range(2)
        ]
        async with balancing(killed.port, int(mesh.url.rpartition(":")[2])) as url:
            await served_at_once(url)
        await released
        for reader in readers:
            await reader.leave()

    assert [answer.status_code for answer in again] == [200, 200]
    assert again[0].content == again[1].content
    assert again[1].headers["idempotent-replayed"] == "true"
    assert again[0].json()["usage"]["completion_tokens"] == ANSWER
    engine = again[0].headers["x-odyssai-engine"]
    made = (await telemetry.idle())[engine]["generated_tokens"]
    # If the engine had let go of it before it was asked for again, it drew one token twice.
    assert made - before[engine]["generated_tokens"] in (ANSWER, ANSWER + 1)


def is_at(model: str, running: int) -> Callable[[dict[str, Any]], bool]:
    """Of a heartbeat: of this model's engine, with so many requests."""
    return lambda beat: (
        beat["running"] == running and any(card["id"] == model for card in beat["models"])
    )
