"""Nobody is generated for once the client has left or its time is over."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from proto.ids import fresh
from tests.mesh.asking import LONG, chat, message_body, slow_prompt, text
from tests.mesh.house import Mesh
from tests.mesh.sockets import Socket
from tests.mesh.telemetry import Telemetry


def busy(beat: dict[str, Any]) -> bool:
    return bool(beat["running"])


def busy_with_four(beat: dict[str, Any]) -> bool:
    """Nobody reads on, so that a choice may be parked already."""
    return bool(beat["running"] + beat["parked"] == 4)


def unheard(**asked: Any) -> dict[str, Any]:
    return chat(content=f"{fresh()}?", max_tokens=LONG, **asked)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_stream_that_is_left_stops(mesh: Mesh, telemetry: Telemetry, path: str) -> None:
    body = message_body if "messages" in path else chat
    asked = body(content=f"{fresh()}?", max_tokens=LONG, stream=True)
    async with Socket.send(mesh, path, asked) as client:
        await client.read_until(b"delta")
        before = await telemetry.engine(busy, since=telemetry.now)

        await client.leave()

        event = await telemetry.until("request", lambda told: told["status"] == "cancelled")
        idle = await telemetry.idle()
    assert event["endpoint"] == path
    assert idle[before["engine"]]["generated_tokens"] < before["generated_tokens"] + LONG / 2


async def test_a_waiting_client_that_leaves_stops_its_answer(
    mesh: Mesh, telemetry: Telemetry
) -> None:
    async with Socket.send(mesh, "/v1/chat/completions", unheard()) as client:
        await telemetry.engine(busy, since=telemetry.now)

        await client.leave()

        await telemetry.until("request", lambda told: told["status"] == "cancelled")
        await telemetry.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_long_prompt_is_not_read_for_nobody(
    mesh: Mesh, telemetry: Telemetry, stream: bool
) -> None:
    asked = text(model="roomy", prompt=slow_prompt(30_000 + stream), stream=stream)
    async with Socket.send(mesh, "/v1/completions", asked) as client:
        if stream:
            await client.read_until(b": prefill")
        reading = await telemetry.engine(lambda b: b["queued_tokens"] > 0, since=telemetry.now)

        await client.leave()

        await telemetry.until("request", lambda told: told["status"] == "cancelled")
        idle = await telemetry.idle()
    assert idle[reading["engine"]]["queued_tokens"] == 0


async def test_all_choices_of_a_request_stop_together(mesh: Mesh, telemetry: Telemetry) -> None:
    asked = unheard(n=4, stream=True)
    async with Socket.send(mesh, "/v1/chat/completions", asked) as client:
        await client.read_until(b"delta")
        await telemetry.engine(busy_with_four, since=telemetry.now)

        await client.leave()

        await telemetry.idle()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_deadline_is_a_504_and_frees_the_slot(
    mesh: Mesh, telemetry: Telemetry, path: str
) -> None:
    body = message_body if "messages" in path else chat
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=mesh.url, timeout=20, trust_env=False) as client:
        answer = await client.post(
            path,
            json=body(content=f"{fresh()}?", max_tokens=LONG),
            headers={"X-Request-Timeout": "0.6"},
        )
    took_s = time.monotonic() - began

    assert answer.status_code == 504
    assert 0.5 < took_s < 3.0
    error = answer.json()["error"]
    if "messages" in path:
        assert error["type"] == "timeout_error"
    else:
        assert error["code"] == "deadline_exceeded"
    await telemetry.until("request", lambda told: told["status"] == "deadline_exceeded")
    await telemetry.idle()


async def test_a_deadline_ends_a_stream_with_an_error(
    http: httpx.Client, telemetry: Telemetry
) -> None:
    answer = await asyncio.to_thread(
        http.post,
        "/v1/chat/completions",
        json=unheard(stream=True),
        headers={"X-Request-Timeout": "0.6"},
    )

    last = answer.text.rstrip().splitlines()[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in answer.text
    await telemetry.idle()


def test_a_deadline_that_is_kept_changes_nothing(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=chat(), headers={"X-Request-Timeout": "30"})

    assert answer.status_code == 200
