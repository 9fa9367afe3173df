"""Gateways die: others serve on at once, and engines do not work for the dead."""

import asyncio
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest

from tests.faults.balancer import balancing
from tests.mesh.asking import LONG, Reader, chat
from tests.mesh.house import Command, Mesh, free_port, until
from tests.mesh.telemetry import Telemetry

RELEASED_S = 3.0 + 1.0
"""Within which requests of the dead end, and within which the next heartbeat says so."""
LOAD_S = 2.0
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


@pytest.fixture(scope="module")
def gateways(mesh: Mesh) -> Iterator[list[Gateway]]:
    """Each to be taken out of the list by who kills it."""
    ports = [free_port() for _ in range(3)]
    started = [
        Gateway(Command("gateway", "--home", str(mesh.home), "--port", str(port)), port)
        for port in ports
    ]
    for each in started:
        until(each.is_ready, 30, "another gateway")
    yield list(started)
    for each in started:
        if each.command.process.poll() is None:
            each.command.process.send_signal(signal.SIGCONT)
        each.command.end()


@pytest.mark.timeout(180)
async def test_nothing_is_generated_for_gateways_that_were_killed_or_stand_still(
    mesh: Mesh, gateways: list[Gateway], telemetry: Telemetry
) -> None:
    killed, stopped = gateways.pop(), gateways.pop()
    async with killed.client() as one, stopped.client() as other:
        readers = [
            await Reader(client, max_tokens=LONG).until_under_way() for client in (one, other)
        ]
        await telemetry.engine(lambda beat: beat["running"] == 2, since=telemetry.now)
        killed.command.process.kill()
        stopped.command.process.send_signal(signal.SIGSTOP)
        dead_at, since = time.monotonic(), telemetry.now

        # Whoever asks again reaches another gateway at once.
        async with balancing(killed.port, int(mesh.url.rpartition(":")[2])) as url:
            for _ in range(4):
                began = time.monotonic()
                async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
                    answer = await http.post("/v1/chat/completions", json=chat(max_tokens=2))
                assert answer.status_code == 200
                assert time.monotonic() - began < 1.0 + LOAD_S

        await telemetry.engine(
            lambda beat: beat["running"] == 0 and "tiny" in str(beat["models"]),
            since=since,
            within_s=RELEASED_S + LOAD_S,
        )
        assert time.monotonic() - dead_at < RELEASED_S + LOAD_S
        for reader in readers:
            await reader.leave()
    await telemetry.idle()


@pytest.mark.timeout(180)
async def test_what_a_dead_gateway_was_answering_is_asked_again_and_generated_once(
    mesh: Mesh, gateways: list[Gateway], telemetry: Telemetry
) -> None:
    dying = gateways.pop()
    body, key = chat(max_tokens=ANSWER), {"Idempotency-Key": "tides and moons"}
    before = await telemetry.idle()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        asking = asyncio.create_task(
            http.post(f"{dying.url}/v1/chat/completions", json=body, headers=key)
        )
        await telemetry.engine(lambda beat: beat["running"] == 1, since=telemetry.now)
        dying.command.process.kill()
        with pytest.raises(httpx.HTTPError):
            await asking

        answers = [
            await http.post(f"{mesh.url}/v1/chat/completions", json=body, headers=key)
            for _ in range(2)
        ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert answers[0].json()["usage"]["completion_tokens"] == ANSWER
    engine = answers[0].headers["x-odyssai-engine"]
    made = (await telemetry.idle())[engine]["generated_tokens"]
    assert made - before[engine]["generated_tokens"] == ANSWER
