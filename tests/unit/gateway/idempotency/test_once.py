"""Requests that are asked again under an Idempotency-Key: one answer, generated once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from bus.connection import Bus
from bus.provision import Limits, existing
from proto.ids import GatewayId, RequestId, fresh, gateway_id
from proto.kept import KEPT_ANSWERS, Answer, KeptAnswer
from proto.presence import GatewayBeat, Here, Probe
from proto.subjects import GATEWAY_BEAT, PROBE
from services.gateway.idempotency import claimant
from services.gateway.idempotency.ledger import Ledger
from services.gateway.idempotency.name import _digest
from services.host import Host
from tests.conftest import NatsServer
from tests.unit.gateway.scripted import (
    MODEL,
    ScriptedEngine,
    full,
    gateway,
    hello,
    silence,
)

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": MODEL, "messages": HI}
GENERATED = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "Hi"},
    "/v1/messages": CHAT | {"max_tokens": 9},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
    "/api/chat": CHAT | {"stream": False},
    "/api/generate": {"model": MODEL, "prompt": "Hi", "stream": False},
}
READ = {
    "/v1/embeddings": {"model": MODEL, "input": ["Hi"]},
    "/v1/rerank": {"model": MODEL, "query": "Hi", "documents": ["a", "b"]},
    "/api/embed": {"model": MODEL, "input": "Hi"},
}


class Asker:
    """Asks the same thing under the same key."""

    def __init__(self, key: str = "") -> None:
        self.headers = {"Idempotency-Key": key or fresh()}

    async def ask(
        self, http: httpx.AsyncClient, path: str = "/v1/chat/completions", **body: Any
    ) -> httpx.Response:
        asked = body or GENERATED.get(path) or READ[path]
        return await http.post(path, json=asked, headers=self.headers)


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.fixture
async def elsewhere(
    http: httpx.AsyncClient, nats_url: str, tmp_path: Path, bus: Bus, scripted: ScriptedEngine
) -> AsyncIterator[httpx.AsyncClient]:
    """Another gateway of the same mesh."""
    heard: asyncio.Queue[GatewayBeat] = asyncio.Queue()
    await bus.listen(GATEWAY_BEAT, heard.put_nowait)
    await bus.settled()
    async with gateway(nats_url, tmp_path / "other") as host:
        while (beat := await heard.get()).gateway != gateway_id(host.service, host.id):
            pass
        async with httpx.AsyncClient(base_url=beat.url, timeout=10) as http:
            while (await http.get("/ready")).status_code != 200:
                await scripted.say()
            yield http


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def test_what_is_asked_again_is_answered_alike_and_generated_once(http, scripted):
    """In every dialect."""
    for number, path in enumerate(GENERATED, 1):
        asker = Asker()
        first, again = [await asker.ask(http, path) for _ in range(2)]

        assert first.status_code == again.status_code == 200, first.text
        assert again.content == first.content
        assert (is_replay(first), is_replay(again)) == (False, True)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["x-odyssai-engine"] == scripted.id
        assert len(scripted.asked) == number


async def test_vectors_and_ranks_are_asked_for_once_as_well(http, scripted):
    for number, path in enumerate(READ, 1):
        asker = Asker()
        scripted.can = {"kind": "reranker" if "rerank" in path else "embedder"}
        await scripted.say()
        first, again = [await asker.ask(http, path) for _ in range(2)]

        assert first.status_code == again.status_code == 200, first.text
        assert again.content == first.content
        assert len(scripted.embedded) + len(scripted.ranked) == number


async def test_another_gateway_waits_for_the_answer_that_is_being_made(
    http, elsewhere, scripted, asker
):
    may_end = asyncio.Event()

    async def later(engine: ScriptedEngine, asked: Any) -> None:
        await may_end.wait()
        await hello(engine, asked)

    scripted.script = later
    async with asyncio.TaskGroup() as asking:
        first = asking.create_task(asker.ask(http))
        await scripted.was_asked.wait()
        others = [asking.create_task(asker.ask(each)) for each in (http, elsewhere, elsewhere)]
        may_end.set()

    assert {other.result().content for other in others} == {first.result().content}
    assert all(is_replay(other.result()) for other in others)
    assert not is_replay(first.result())
    assert len(scripted.asked) == 1


async def test_an_answer_is_finished_though_its_client_has_left(http, elsewhere, scripted, asker):
    may_end = asyncio.Event()

    async def later(engine: ScriptedEngine, asked: Any) -> None:
        await may_end.wait()
        await hello(engine, asked)

    scripted.script = later
    leaving = asyncio.create_task(asker.ask(http))
    await scripted.was_asked.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    again = asyncio.create_task(asker.ask(elsewhere))
    may_end.set()

    assert (await again).json()["choices"][0]["message"]["content"] == "Hello world"
    assert len(scripted.asked) == 1
    assert scripted.cancelled.empty()


async def test_a_key_that_comes_with_another_request_is_a_422_and_one_that_is_none_a_400(http):
    for path in ("/v1/chat/completions", "/v1/messages"):
        asker = Asker()
        await asker.ask(http, path)
        refused = await asker.ask(http, path, **GENERATED[path] | {"temperature": 0.5})

        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (422, "invalid_request_error")
        assert "choose a new key" in error["message"]
    for key in ("", "x" * 256):
        answer = await http.post(
            "/v1/chat/completions", json=CHAT, headers={"Idempotency-Key": key}
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


async def test_nobody_finds_the_answer_of_another_api_key(http, scripted, asker):
    owners = asker.headers | {"Authorization": "Bearer one"}
    first = await http.post("/v1/chat/completions", json=CHAT, headers=owners)
    asker.headers["Authorization"] = "Bearer two"

    second = await asker.ask(http)

    assert first.status_code == second.status_code == 200
    assert not is_replay(second)
    assert len(scripted.asked) == 2


async def test_what_failed_is_not_kept(http, scripted, asker):
    scripted.refusal = full()
    assert (await asker.ask(http)).status_code == 429
    scripted.refusal = None

    answer = await asker.ask(http)

    assert (answer.status_code, is_replay(answer)) == (200, False)


async def test_a_stream_says_that_its_key_has_no_effect(http, scripted, asker):
    for _ in range(2):
        answer = await asker.ask(http, **CHAT | {"stream": True})
        assert answer.headers["x-odyssai-ignored"] == "idempotency-key"

    assert len(scripted.asked) == 2


async def test_large_answers_are_kept_whole(http, scripted, asker):
    scripted.can = {"kind": "embedder"}
    await scripted.say()
    texts = [f"text {place}" for place in range(2000)]
    asked = {"model": MODEL, "input": texts}

    first, again = [await asker.ask(http, "/v1/embeddings", **asked) for _ in range(2)]

    assert is_replay(again)
    assert len(first.content) > 60_000
    assert again.content == first.content


class Record:
    """What is kept of what an asker asks."""

    def __init__(self, bus: Bus, asker: Asker) -> None:
        self._key = _digest(b"", asker.headers["Idempotency-Key"].encode()).hexdigest()
        self._ledger = Ledger(bus, Limits(ttl_s=86_400, max_bytes=256 << 20))

    async def write(self, kept: KeptAnswer, revision: int = 0) -> None:
        assert await self._ledger.write(self._key, kept, revision)

    async def find(self) -> tuple[KeptAnswer, int] | None:
        return await self._ledger.find(self._key)


@pytest.fixture
def record(bus: Bus, asker: Asker) -> Record:
    return Record(bus, asker)


@pytest.fixture
async def claim(record: Record) -> KeptAnswer:
    """Of a gateway that nobody hears of."""
    body = httpx.Request("POST", "http://x", json=CHAT).content
    kept = KeptAnswer(
        question=_digest(b"/v1/chat/completions", body).digest(),
        gateway=GatewayId(f"g.{fresh()}"),
        boot="b",
        request=RequestId(fresh()),
    )
    await record.write(kept)
    return kept


async def test_the_claim_of_a_gateway_that_ended_is_taken_over_with_what_engines_have(
    http, scripted, asker, record, claim, host: Host
):
    answer = await asker.ask(http)

    assert answer.status_code == 200
    assert scripted.asked[0].request == claim.request
    assert (await record.find())[0].gateway == gateway_id(host.service, host.id)
    assert (await asker.ask(http)).content == answer.content


async def test_of_a_gateway_that_is_silent_nothing_is_used_that_it_may_still_withdraw(
    http, scripted, asker, claim, bus, monkeypatch
):
    async def never(_: Probe) -> Here:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(claimant, "PROBE_S", 0.05)
    monkeypatch.setattr(claimant, "SILENCE_S", 0.1)
    await bus.answer(PROBE, never, claim.gateway)
    await bus.settled()

    assert (await asker.ask(http)).status_code == 200
    assert scripted.asked[0].request != claim.request


async def test_who_was_taken_for_dead_tells_what_was_answered_in_its_place(
    http, scripted, asker, record
):
    taken = asyncio.Event()

    async def meanwhile(engine: ScriptedEngine, asked: Any) -> None:
        await taken.wait()
        await hello(engine, asked)

    scripted.script = meanwhile
    asking = asyncio.create_task(asker.ask(http))
    await scripted.was_asked.wait()
    claim, revision = await record.find()
    told = Answer(headers=(("content-type", "application/json"),), body=b'{"told": 1}')
    await record.write(replace(claim, gateway=GatewayId(f"g.{fresh()}"), answer=told), revision)
    taken.set()

    assert (await asking).content == told.body


async def test_a_gateway_that_stops_gives_its_claims_back(http, scripted, asker, record, host):
    scripted.script = silence
    asking = asyncio.create_task(asker.ask(http))
    await scripted.was_asked.wait()
    host.stopping.set()

    assert (await asking).status_code == 503
    async with asyncio.timeout(5):
        while await record.find() is not None:
            await asyncio.sleep(0.01)


async def test_answers_can_be_kept_before_anybody_asks(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with gateway(nats_server.url, tmp_path), Bus.connect(nats_server.url, "test:look") as bus:
        async with asyncio.timeout(20):
            while await existing(bus, KEPT_ANSWERS) is None:
                await asyncio.sleep(0.02)
