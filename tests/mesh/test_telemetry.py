"""What operators hear, and what they do not."""

import asyncio
import json
import signal
from pathlib import Path

import nats
import nats.errors
import openai
import pytest
from nats.aio.client import Client

from bus.address import Address
from bus.connection import Bus
from proto.ids import fresh
from proto.prefix import prefixes_of
from proto.prompt import Chat, Turn
from proto.subjects import ENGINE_BEAT
from tests.mesh.asking import chat, message, posted
from tests.mesh.house import NODE, Command, Mesh, soon
from tests.mesh.telemetry import Telemetry


async def test_a_node_says_what_it_is(mesh: Mesh, telemetry: Telemetry) -> None:
    node = await telemetry.until("node")

    assert node["node"] == NODE
    assert node["pid"] == mesh.process_of("runner").pid
    assert len(node["engines"]) == 2
    assert node["memory_bytes"] > node["free_bytes"] > 0


async def test_an_engine_says_what_it_holds_and_does(mesh: Mesh, telemetry: Telemetry) -> None:
    engine = await telemetry.engine(lambda beat: beat["models"][0]["id"] == "tiny")

    assert engine["pid"] in mesh.pids("engine")
    assert engine["node"] == NODE
    assert engine["state"] == "ready"
    assert (engine["slots"], engine["queue_limit"]) == (64, 256)
    assert engine["models"][0]["context_length"] == 8192
    assert engine["memory_bytes"] > 10_000_000
    assert engine["cache"]["limit_bytes"] > 0


async def test_an_engine_says_since_when_it_is_idle(
    async_gpt: openai.AsyncOpenAI, telemetry: Telemetry
) -> None:
    since = telemetry.now
    await async_gpt.chat.completions.create(**chat(max_tokens=2000))
    busy = await telemetry.engine(lambda beat: beat["running"] == 1, since=since)
    idle = await telemetry.engine(
        lambda beat: beat["engine"] == busy["engine"] and beat["running"] == 0, since=telemetry.now
    )

    assert busy["idle_s"] == 0.0
    assert 0.0 < idle["idle_s"] < 30.0


async def test_a_request_is_told_once_with_the_numbers_the_client_saw(
    async_gpt: openai.AsyncOpenAI, telemetry: Telemetry
) -> None:
    session = fresh()
    asked = chat(content=f"{session}?", max_tokens=11, extra_body={"session_id": session})
    await async_gpt.chat.completions.create(**asked)
    answer = await async_gpt.chat.completions.create(**asked)

    event = await telemetry.until("request", lambda told: told["request"] == answer._request_id)

    usage = answer.usage
    assert usage
    assert usage.prompt_tokens_details
    assert event["v"] == 1
    assert (event["model"], event["dialect"], event["stream"]) == ("tiny", "openai", False)
    assert event["endpoint"] == "/v1/chat/completions"
    assert (event["status"], event["finish_reason"]) == ("ok", "length")
    assert event["prompt_tokens"] == usage.prompt_tokens
    assert event["completion_tokens"] == 11
    assert event["cached_tokens"] == usage.prompt_tokens_details.cached_tokens
    assert event["session"] == session
    assert event["engine"].startswith(f"{NODE}.tiny")
    assert 0 < event["ttft_s"] <= event["duration_s"] < 10
    assert event["prefill_s"] + event["decode_s"] <= event["duration_s"]
    assert event["tokens_per_s"] == pytest.approx(11 / event["decode_s"], rel=0.01)
    await telemetry.idle()
    events = [told for subject, told in telemetry.heard if ".request." in subject]
    assert len([told for told in events if told["request"] == answer._request_id]) == 1


async def test_an_engine_tells_the_mesh_which_prompts_it_holds_and_operators_not(
    mesh: Mesh, telemetry: Telemetry
) -> None:
    turn = Turn(role="user", content=f"{fresh()} " + "over and over " * 100)
    *blocks, whole = (p.digest for p in prefixes_of(Chat(turns=(turn,))))
    asked = chat(messages=[{"role": "user", "content": turn.text}], max_tokens=1)
    held: dict[bytes, int] = {}
    async with Bus.connect(mesh.access.url("scheduler"), "test:prefixes") as bus:
        await bus.listen(ENGINE_BEAT, lambda beat: held.update(beat.prefixes))
        await bus.settled()
        answer = (await asyncio.to_thread(posted, mesh, "/v1/chat/completions", asked)).json()
        await soon(lambda: whole in held)

    assert blocks
    assert held[whole] == answer["usage"]["prompt_tokens"]
    assert all(0 < held[block] < held[whole] for block in blocks)
    assert "prefixes" not in await telemetry.until("engine")


async def test_failures_are_told_with_their_code(mesh: Mesh, telemetry: Telemetry) -> None:
    await asyncio.to_thread(posted, mesh, "/v1/messages", message(model="absent"))

    event = await telemetry.until("request")

    assert (event["dialect"], event["endpoint"]) == ("anthropic", "/v1/messages")
    assert event["status"] == "invalid_request"


async def test_no_text_of_anybody_is_ever_told(
    async_gpt: openai.AsyncOpenAI, telemetry: Telemetry
) -> None:
    secret = "quixotry"
    answer = await async_gpt.chat.completions.create(
        **chat(content=f"{secret} {fresh()}", max_tokens=12, logprobs=True, stop=["marginalia"])
    )
    await telemetry.until("request", lambda told: told["request"] == answer._request_id)
    await telemetry.idle()

    told = json.dumps(telemetry.heard, ensure_ascii=False)
    text = answer.choices[0].message.content or ""
    assert secret not in told
    assert "marginalia" not in told
    assert max(text.split("\ufffd"), key=len) not in told


async def test_the_operators_credential_opens_nothing_else(mesh: Mesh) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error).lower())

    address = Address.parse(mesh.access.url("ops"))
    client = await nats.connect(**address.dialled("test:ops"), error_cb=note)
    try:
        for subject in ("mesh.>", ">", "$JS.>", "$KV.>", "$SYS.>", "_INBOX.>"):
            await client.subscribe(subject)
        await client.publish("mesh.v1.schedule", b"")
        await client.publish("telemetry.v1.alert.forged", b"{}")
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await client.request("$JS.API.STREAM.NAMES", b"", timeout=0.3)
        await client.flush()
    finally:
        await client.close()

    assert len([why for why in refused if "subscription to" in why]) == 6
    assert len([why for why in refused if "publish to" in why]) == 3


async def test_a_wrong_password_opens_nothing(mesh: Mesh) -> None:
    client = Client()

    async def note(_: Exception) -> None:
        pass

    with pytest.raises(nats.errors.Error, match="Authorization"):
        await client.connect(
            f"nats://ops:wrong@{mesh.access.address}", allow_reconnect=False, error_cb=note
        )
    await client.close()


def test_watch_prints_every_message_as_it_is(mesh: Mesh) -> None:
    watch = Command("watch", "--json", "--home", str(mesh.home))
    try:
        watch.said.wait_for('"steps"', 10)
        answer = posted(mesh, "/v1/chat/completions", chat(max_tokens=3))
        said = watch.said.wait_for(answer.headers["x-request-id"], 5)
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(5) in (0, 130)
    finally:
        watch.end()

    assert all(isinstance(json.loads(line), dict) for line in said.splitlines())


def test_watch_without_a_mesh_says_so(tmp_path: Path) -> None:
    watch = Command("watch", "--home", str(tmp_path))
    try:
        watch.said.wait_for("odyssai:", 10)
        assert watch.process.wait(5) == 1
    finally:
        watch.end()
