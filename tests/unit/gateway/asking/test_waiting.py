"""Requests for a model that is being loaded."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from proto.errors import Code, MeshError
from services.gateway.answering import keepalive
from services.gateway.asking import wait
from tests.unit.gateway.scripted import MODEL, ScriptedScheduler, engine, scheduler

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": MODEL, "messages": HI}
STREAMS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "Hi"},
    "/v1/messages": CHAT | {"max_tokens": 9},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
}
SIGN = ": loading 40 %"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "BEGIN_S", 0.05)
    monkeypatch.setattr(keepalive, "EVERY_S", 0.05)
    monkeypatch.setattr(wait, "POLL_S", 0.02)
    monkeypatch.setattr(wait, "LONGEST_POLL_S", 0.02)


@pytest.fixture
async def loading(nats_url: str) -> AsyncIterator[ScriptedScheduler]:
    async with scheduler(nats_url) as scripted:
        yield scripted


@pytest.fixture
async def client(address: str, loading: ScriptedScheduler) -> AsyncIterator[httpx.AsyncClient]:
    """Of a gateway that has heard no engine."""
    async with httpx.AsyncClient(base_url=address, timeout=10) as http:
        yield http


async def asked_again(loading: ScriptedScheduler) -> None:
    """Whoever waits has asked twice from now on."""
    for _ in range(loading.questions.qsize() + 2):
        await asyncio.wait_for(loading.questions.get(), 5)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_streaming_client_hears_why_it_waits_and_then_its_answer(client, nats_url, path):
    async with client.stream("POST", path, json=STREAMS[path] | {"stream": True}) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert [line async for line in _until(lines, SIGN)]
        async with engine(nats_url):
            rest = "\n".join([line async for line in lines])

    assert "Hello" in rest
    assert "world" in rest


async def test_an_ollama_client_hears_empty_pieces_while_it_waits(client, nats_url):
    async with client.stream("POST", "/api/chat", json=CHAT) as answer:
        lines = answer.aiter_lines()
        assert '"content":""' in await anext(lines)
        async with engine(nats_url):
            rest = "\n".join([line async for line in lines])

    assert "Hello" in rest


async def test_both_sdks_read_past_the_signs(address, loading, nats_url):
    gpt = AsyncOpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0)
    claude = AsyncAnthropic(base_url=address, api_key="x", max_retries=0)

    async def completion() -> str:
        pieces = await gpt.chat.completions.create(**CHAT, stream=True)
        return "".join([piece.choices[0].delta.content or "" async for piece in pieces])

    async def message() -> str:
        async with claude.messages.stream(**CHAT, max_tokens=9) as stream:
            return await stream.get_final_text()

    async with gpt, claude, asyncio.TaskGroup() as asking:
        answers = [asking.create_task(ask()) for ask in (completion, message)]
        await asked_again(loading)
        await asked_again(loading)
        async with engine(nats_url):
            assert [await answer for answer in answers] == ["Hello world"] * 2


async def _until(lines, wanted):
    async for line in lines:
        yield line
        if line == wanted:
            return


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/chat/completions", '"code":"insufficient_memory"'),
        ("/v1/messages", "event: error"),
        ("/v1/responses", "event: response.failed"),
    ],
)
async def test_a_load_that_fails_is_told_as_a_streams_last_words(client, loading, path, last):
    async with client.stream("POST", path, json=STREAMS[path] | {"stream": True}) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        loading.refusal = MeshError(Code.NO_MEMORY, "too large for this mesh")
        rest = "\n".join([line async for line in lines])

    assert last in rest
    assert "too large for this mesh" in rest


async def test_a_response_that_began_and_failed_is_kept_as_it_was_told(client, loading):
    body = STREAMS["/v1/responses"] | {"stream": True}
    async with client.stream("POST", "/v1/responses", json=body) as answer:
        lines = answer.aiter_lines()
        created = [line async for line in _until(lines, SIGN)]
        loading.refusal = MeshError(Code.NO_MEMORY, "too large for this mesh")
        assert [line async for line in lines]

    id = created[1].split('"id":"')[1].split('"')[0]
    kept = (await client.get(f"/v1/responses/{id}")).json()
    assert (kept["status"], kept["error"]["message"]) == ("failed", "too large for this mesh")


async def test_what_fails_at_once_keeps_its_status_even_for_a_stream(client, loading):
    loading.refusal = MeshError(Code.NO_MEMORY, "too large for this mesh")

    answer = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})

    assert answer.status_code == 507


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/messages/count_tokens", CHAT),
        ("/v1/embeddings", {"model": MODEL, "input": "Hi"}),
        ("/v1/rerank", {"model": MODEL, "query": "Hi", "documents": ["a"]}),
        ("/tokenize", {"model": MODEL, "prompt": "Hi"}),
        ("/v1/responses", {"model": MODEL, "input": "Hi"}),
    ],
)
async def test_a_client_that_does_not_stream_waits(client, loading, nats_url, path, body):
    answering = asyncio.create_task(client.post(path, json=body))
    await asked_again(loading)
    assert not answering.done()

    kind = {"/v1/embeddings": "embedder", "/v1/rerank": "reranker"}.get(path, "llm")
    async with engine(nats_url) as served:
        served.can = {"kind": kind}
        answer = await answering

    assert answer.status_code == 200


async def test_every_question_of_a_request_says_whose_it_is_and_since_when(client, loading):
    asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
    first = await loading.questions.get()
    second = await loading.questions.get()
    asking.cancel()

    assert first.request == second.request != ""
    assert 0 <= first.waited_s < second.waited_s < 5


async def test_a_client_that_leaves_is_asked_for_no_more(client, loading):
    async with client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as left:
        await anext(left.aiter_lines())

    while True:
        asked = loading.questions.qsize()
        await client.get("/health")
        await asyncio.sleep(5 * wait.LONGEST_POLL_S)
        if loading.questions.qsize() == asked:
            return


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_LOAD_WAIT_S", "0")


async def test_a_wait_has_an_end(impatient, client):
    answer = await client.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 504
    assert "loading 40 %" in answer.json()["error"]["message"]


async def test_a_request_goes_on_waiting_while_schedulers_are_replaced(address, nats_url):
    async with httpx.AsyncClient(base_url=address, timeout=10) as http:
        async with scheduler(nats_url) as first:
            answering = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
            await asked_again(first)
        async with scheduler(nats_url) as second:
            await asked_again(second)
        async with engine(nats_url):
            assert (await answering).status_code == 200
