"""What clients and models write is in nobody's log, trace, telemetry or state."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector import Traced
from tests.mesh.house import Mesh, soon
from tests.mesh.telemetry import Telemetry
from tests.parrot import script

SECRET = "xyzzy-plugh"
SAID = script(f'My word is {SECRET}. <tool_call>\n{{"name": "{SECRET}"')
TURN = {"role": "user", "content": f"{SAID} {SECRET}"}
CHAT: dict[str, Any] = {"model": "parrot", "messages": [TURN], "max_tokens": 60}
TOOL = {"name": SECRET, "description": SECRET, "parameters": {"type": "object"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {SECRET: [SECRET]}}}
BROKEN = {"type": "grammar", "grammar": f'start: "{SECRET}'}
ASKED: list[tuple[str, Any]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"stream": True, "stop": [SECRET[:5]]}),
    ("/v1/chat/completions", CHAT | {"tools": [{"type": "function", "function": TOOL}]}),
    ("/v1/chat/completions", CHAT | {"response_format": FORMAT}),
    ("/v1/chat/completions", CHAT | {"response_format": BROKEN}),
    ("/v1/chat/completions", CHAT | {"response_format": {"type": "regex", "regex": SECRET + "["}}),
    ("/v1/chat/completions", CHAT | {"temperature": SECRET}),
    ("/v1/chat/completions", CHAT | {"model": "parrot", SECRET: 1}),
    ("/v1/chat/completions", CHAT | {"messages": [TURN | {"role": SECRET}]}),
    ("/v1/chat/completions", CHAT | {"chat_template_kwargs": {"messages": SECRET}}),
    ("/v1/completions", {"model": "parrot", "prompt": SECRET, "max_tokens": 4}),
    ("/v1/messages", CHAT | {"system": SECRET}),
    ("/v1/responses", {"model": "parrot", "input": TURN["content"], "store": False}),
    ("/v1/tokenize", {"model": "parrot", "prompt": SECRET}),
    ("/v1/embeddings", {"model": "parrot", "input": SECRET}),
    ("/api/chat", {"model": "parrot", "messages": [TURN]}),
    ("/api/generate", {"model": "parrot", "prompt": SECRET, "raw": True}),
]


@pytest.fixture
async def client(parrots: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=parrots.url, timeout=30, trust_env=False) as client:
        yield client


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def captures(mesh: Mesh) -> bool:
    return bool(httpx.get(f"{mesh.url}/health", trust_env=False).json()["captures"])


async def test_no_word_of_a_client_or_a_model_is_kept_or_told(
    parrots: Mesh, client: httpx.AsyncClient, traced: Traced
) -> None:
    async with Telemetry.listen(parrots.access.url("ops")) as telemetry:
        answers = await asyncio.gather(
            *(client.post(path, json=body) for path, body in ASKED),
            client.post("/v1/chat/completions", content=b'{"messages": "' + SECRET.encode()),
        )
        assert {answer.status_code for answer in answers} == {200, 400}
        assert any(SECRET in answer.text for answer in answers if answer.status_code == 200)
        for answer, (path, _) in zip(answers, ASKED, strict=False):
            if "tokenize" not in path:
                id = answer.headers["x-request-id"]
                await telemetry.until("request", lambda told, id=id: told["request"] == id)
        told = json.dumps(telemetry.heard)
    await soon(lambda: len(b"".join(traced.bodies)) > 1000, what="spans")

    assert SECRET not in told
    assert SECRET.encode() not in b"".join(traced.bodies)
    kept = files(parrots.home / "logs") | files(parrots.home / "bus")
    assert len(b"".join(kept.values())) > 10_000
    assert not [name for name, content in kept.items() if SECRET.encode() in content]


async def test_capture_is_told_to_whoever_asks_and_to_whoever_operates(
    parrots: Mesh, client: httpx.AsyncClient
) -> None:
    async with Telemetry.listen(parrots.access.url("ops")) as telemetry:
        await client.patch("/admin/config", json={"privacy": {"capture": True}})
        await soon(lambda: captures(parrots), what="capture")
        answer = await client.post("/v1/chat/completions", json=CHAT)
        captured = await telemetry.until("capture")
        await client.delete("/admin/config", params={"setting": "privacy/capture"})
        await soon(lambda: not captures(parrots), what="no capture")
        silent = await client.post("/v1/chat/completions", json=CHAT)

    assert answer.headers["x-odyssai-captured"] == "true"
    assert "x-odyssai-captured" not in silent.headers
    assert json.loads(captured["body"]) == CHAT
    assert captured["said"][0]["content"] == answer.json()["choices"][0]["message"]["content"]
    assert captured["request"] == answer.headers["x-request-id"]
    log = (parrots.home / "logs" / "gateway.log").read_text()
    assert "capture of prompts and answers is on" in log
    assert "capture of prompts and answers is off" in log
