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
from tests.mesh.telemetry import Telemetry


async def send(
    mesh: Mesh, path: str, body: dict[str, Any], **headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request on a socket of its own, for a client that may leave at any moment."""
    content = json.dumps(body).encode()
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: mesh\r\nContent-Type: application/json\r\n"
        f"{named}Content-Length: {len(content)}\r\n\r\n".encode() + content
    )
    await writer.drain()
    return reader, writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def busy(beat: dict[str, Any]) -> bool:
    return bool(beat["running"])


def unheard(**asked: Any) -> dict[str, Any]:
    return chat(content=f"{fresh()}?", max_tokens=LONG, **asked)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_stream_that_is_left_stops(mesh: Mesh, telemetry: Telemetry, path: str) -> None:
    body = message_body if "messages" in path else chat
    asked = body(content=f"{fresh()}?", max_tokens=LONG, stream=True)
    reader, writer = await send(mesh, path, asked)
    await reader.readuntil(b"delta")
    await telemetry.engine(busy, since=telemetry.now)

    await hang_up(writer)

    event = await telemetry.until("request", lambda told: told["status"] == "cancelled")
    idle = await telemetry.idle()
    assert event["endpoint"] == path
    assert idle["generated_tokens"] < LONG


async def test_a_waiting_client_that_leaves_stops_its_answer(
    mesh: Mesh, telemetry: Telemetry
) -> None:
    _, writer = await send(mesh, "/v1/chat/completions", unheard())
    await telemetry.engine(busy, since=telemetry.now)

    await hang_up(writer)

    await telemetry.until("request", lambda told: told["status"] == "cancelled")
    await telemetry.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_long_prompt_is_not_read_for_nobody(
    mesh: Mesh, telemetry: Telemetry, stream: bool
) -> None:
    prompt = slow_prompt(30_000 + stream)
    reader, writer = await send(
        mesh, "/v1/completions", text(model="roomy", prompt=prompt, stream=stream)
    )
    if stream:
        await reader.readuntil(b": prefill")
    await telemetry.engine(lambda beat: beat["queued_tokens"] > 0, since=telemetry.now)

    await hang_up(writer)

    await telemetry.until("request", lambda told: told["status"] == "cancelled")
    idle = await telemetry.idle()
    assert idle["queued_tokens"] == 0


async def test_all_choices_of_a_request_stop_together(mesh: Mesh, telemetry: Telemetry) -> None:
    reader, writer = await send(mesh, "/v1/chat/completions", unheard(n=4, stream=True))
    await reader.readuntil(b"delta")
    await telemetry.engine(lambda beat: beat["running"] == 4, since=telemetry.now)

    await hang_up(writer)

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


async def test_a_deadline_ends_a_stream_with_an_error(mesh: Mesh, telemetry: Telemetry) -> None:
    reader, writer = await send(
        mesh, "/v1/chat/completions", unheard(stream=True), X_Request_Timeout="0.6"
    )
    async with asyncio.timeout(10):
        tail = await reader.readuntil(b'"code":"deadline_exceeded"')
        rest = await reader.readuntil(b"0\r\n\r\n")

    assert b"data: " in tail
    assert b"[DONE]" not in rest
    await hang_up(writer)
    await telemetry.idle()


async def test_a_deadline_that_is_kept_changes_nothing(mesh: Mesh, http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=chat(), headers={"X-Request-Timeout": "30"})

    assert answer.status_code == 200
