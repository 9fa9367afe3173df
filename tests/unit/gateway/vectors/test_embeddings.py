"""/v1/embeddings and /v1/rerank over scripted engines, with the real SDK."""

import asyncio
import struct

import httpx
import pytest
from openai import BadRequestError, InternalServerError, RateLimitError

from proto.errors import Code, MeshError
from proto.ids import gateway_id
from proto.subjects import GATEWAY_BEAT
from services.gateway.vectors import embeddings
from tests.unit.gateway.scripted import ALIAS, MODEL, engine, gateway

VECTOR = [pytest.approx(0.6), pytest.approx(0.8)]


@pytest.fixture
async def embedder(http, scripted):
    return await becomes(http, scripted, "embedder")


async def becomes(http, scripted, kind):
    scripted.can = {"kind": kind, "embedding_size": 2 if kind == "embedder" else 0}
    while (await http.get("/v1/models")).json()["data"][0]["x_odyssai"]["kind"] != kind:
        await scripted.say()
    return scripted


async def test_the_sdk_s_base64_and_floats_are_the_same_numbers(openai, embedder):
    text = await openai.embeddings.create(model=MODEL, input=["a", "b"])
    floats = await openai.embeddings.create(model=MODEL, input="a", encoding_format="float")

    assert [vector.embedding for vector in text.data] == [VECTOR, VECTOR]
    assert [vector.index for vector in text.data] == [0, 1]
    assert floats.data[0].embedding == VECTOR
    assert (text.usage.prompt_tokens, text.usage.total_tokens) == (6, 6)
    assert (text.model, text.object) == (MODEL, "list")


async def test_what_is_asked_for_reaches_the_engine(http, embedder):
    body = {"model": ALIAS, "input": [[1, 2]], "dimensions": 1, "input_type": "query",
            "truncate": True, "user": "u"}  # fmt: skip
    answer = await http.post("/v1/embeddings", json=body, headers={"x-request-timeout": "9"})

    (asked,) = embedder.embedded
    assert answer.status_code == 200
    assert answer.headers["x-odyssai-engine"] == embedder.id
    assert (asked.dimensions, asked.side, asked.truncate) == (1, "query", True)
    assert [list(given.ids) for given in asked.inputs] == [[1, 2]]
    assert asked.left_s is not None


async def test_a_list_whose_vectors_fit_no_message_keeps_its_order(http, embedder, monkeypatch):
    monkeypatch.setattr(embeddings, "MOST_BYTES", 3 * 8)
    embedder.vectors_of = lambda question: tuple(
        struct.pack("<2f", float(given.text), 0) for given in question.inputs
    )

    texts = [str(n) for n in range(10)]
    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": texts})

    asked = sorted(embedder.embedded, key=lambda question: question.first)
    assert [(question.first, len(question.inputs)) for question in asked] == [
        (0, 3), (3, 3), (6, 3), (9, 1)
    ]  # fmt: skip
    assert len({question.request for question in asked}) == 4
    assert [entry["embedding"][0] for entry in answer.json()["data"]] == list(range(10))
    assert answer.json()["usage"]["prompt_tokens"] == 30


async def test_a_model_of_another_kind_is_refused_with_those_that_are(openai, http, scripted):
    with pytest.raises(BadRequestError, match="of kind llm; choose one that is: none") as llm:
        await openai.embeddings.create(model=ALIAS, input="a")
    await becomes(http, scripted, "embedder")
    ranked = await http.post("/v1/rerank", json={"model": ALIAS, "query": "q", "documents": ["a"]})

    assert llm.value.param == "model"
    assert not scripted.embedded
    assert (ranked.status_code, ranked.json()["error"]["param"]) == (400, "model")


async def test_an_unknown_model_is_a_404(http, embedder, choosy):
    answer = await http.post("/v1/embeddings", json={"model": "absent", "input": "a"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_full_engine_is_a_429_with_a_time_to_wait(openai, embedder):
    embedder.refusal = MeshError(Code.QUEUE_FULL, "full", retry_after_s=3.2)

    with pytest.raises(RateLimitError) as full:
        await openai.embeddings.create(model=MODEL, input="a")

    assert full.value.response.headers["retry-after"] == "4"


async def test_the_engine_s_refusal_is_the_client_s(openai, embedder):
    embedder.refusal = MeshError(Code.CONTEXT_OVERFLOW, "300 tokens, 256 at most", param="input")

    with pytest.raises(BadRequestError, match="300 tokens") as refused:
        await openai.embeddings.create(model=MODEL, input="a")

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")


async def test_a_client_that_leaves_withdraws_the_question(url, embedder):
    embedder.before_accepting = asyncio.Event().wait

    async with httpx.AsyncClient(base_url=url) as client:
        asking = asyncio.create_task(
            client.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
        )
        await asyncio.wait_for(embedder.was_asked.wait(), 5)
        asking.cancel()

    withdrawn = await asyncio.wait_for(embedder.cancelled.get(), 5)
    assert withdrawn == embedder.embedded[0].request


async def test_a_deadline_withdraws_the_question_too(http, embedder, monkeypatch):
    monkeypatch.setattr("services.gateway.generate.OVERTIME_S", 0.0)
    embedder.before_accepting = asyncio.Event().wait

    body = {"model": MODEL, "input": "a"}
    answer = await http.post("/v1/embeddings", json=body, headers={"x-request-timeout": "0.2"})

    assert answer.status_code == 504
    assert await asyncio.wait_for(embedder.cancelled.get(), 5)


async def test_an_engine_lost_at_work_is_replaced_by_another(nats_url, openai, embedder):
    embedder.before_accepting = asyncio.Event().wait
    asking = asyncio.create_task(openai.embeddings.create(model=MODEL, input="a"))
    await asyncio.wait_for(embedder.was_asked.wait(), 5)

    async with engine(nats_url, "e2") as other:
        other.can = embedder.can
        await other.say()
        await embedder.die()
        answer = await asyncio.wait_for(asking, 10)

        assert answer.data[0].embedding == VECTOR
        assert len(other.embedded) == 1


async def test_without_another_engine_the_loss_is_told(openai, embedder, monkeypatch):
    monkeypatch.setattr("services.gateway.asking.enquiry.RECOVERY_S", 0.0)
    embedder.before_accepting = asyncio.Event().wait
    asking = asyncio.create_task(openai.embeddings.create(model=MODEL, input="a"))
    await asyncio.wait_for(embedder.was_asked.wait(), 5)

    await embedder.die()

    with pytest.raises(InternalServerError) as lost:
        await asyncio.wait_for(asking, 10)
    assert lost.value.status_code in (502, 503)


async def test_two_engines_share_a_long_list(nats_url, http, embedder):
    async with engine(nats_url, "e2") as other:
        other.can = embedder.can
        await other.say()
        while len((await http.get("/v1/models")).json()["data"][0]["x_odyssai"]["engines"]) < 2:
            await other.say()
        texts = [f"text {n}" for n in range(128)]
        answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": texts})

        asked = sorted([*embedder.embedded, *other.embedded], key=lambda question: question.first)
        assert answer.status_code == 200
        assert [len(question.inputs) for question in asked] == [64, 64]
        assert [given.text for question in asked for given in question.inputs] == texts


async def test_an_answer_of_the_wrong_length_is_not_passed_on(http, embedder):
    embedder.vectors_of = lambda question: ()

    answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": "a"})

    assert answer.status_code == 500
    assert "0 vectors for 1 inputs" in answer.json()["error"]["message"]


async def test_operators_hear_of_it_once(openai, embedder, events):
    await openai.embeddings.create(model=ALIAS, input=["a", "b"])
    event = await asyncio.wait_for(events.get(), 5)

    assert (event.endpoint, event.status, event.model) == ("/v1/embeddings", "ok", ALIAS)
    assert (event.prompt_tokens, event.completion_tokens) == (6, 0)
    assert (event.engine, event.finish_reason) == (embedder.id, None)


async def rank(http, **fields):
    body = {"model": MODEL, "query": "q", "documents": ["aa", "aaaa", {"text": "aaa"}]} | fields
    return await http.post(fields.pop("path", "/v1/rerank"), json=body)


@pytest.fixture
async def reranker(http, scripted):
    return await becomes(http, scripted, "reranker")


async def test_documents_come_back_best_first(http, reranker):
    answer = (await rank(http)).json()

    assert [(r["index"], r["relevance_score"]) for r in answer["results"]] == [
        (1, 0.04), (2, 0.03), (0, 0.02)
    ]  # fmt: skip
    assert all("document" not in result for result in answer["results"])
    assert answer["meta"] == {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 15}}
    assert answer["usage"] == {"prompt_tokens": 15, "total_tokens": 15}
    assert answer["model"] == MODEL
    assert answer["id"]


async def test_only_the_best_come_back_with_their_text_where_that_is_asked_for(http, reranker):
    answer = await rank(http, top_n=2, return_documents=True, max_tokens_per_doc=7,
                        max_chunks_per_doc=1)  # fmt: skip

    results = answer.json()["results"]
    assert [result["document"] for result in results] == [{"text": "aaaa"}, {"text": "aaa"}]
    assert reranker.ranked[0].document_tokens == 7
    assert answer.headers["x-odyssai-ignored"] == "max_chunks_per_doc"


async def test_both_paths_lead_to_it(http, reranker):
    body = {"model": MODEL, "query": "q", "documents": ["a", "b"]}
    first, second = [await http.post(path, json=body) for path in ("/rerank", "/v1/rerank")]

    assert first.json()["results"] == second.json()["results"]


async def test_equals_keep_their_order(http, reranker):
    answer = await rank(http, documents=["x", "y", "z"])

    assert [result["index"] for result in answer.json()["results"]] == [0, 1, 2]


async def test_an_answer_lost_with_the_bus_is_asked_for_again(nats_server, tmp_path):
    async with engine(nats_server.url) as embedder, gateway(nats_server.url, tmp_path) as host:
        embedder.can = {"kind": "embedder", "embedding_size": 2}
        address = await address_of(host)
        async with httpx.AsyncClient(base_url=address, timeout=20) as client:
            while (await client.get("/ready")).status_code != 200:
                await embedder.say()
            embedder.before_accepting = asyncio.Event().wait
            asking = asyncio.create_task(
                client.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
            )
            await asyncio.wait_for(embedder.was_asked.wait(), 5)
            embedder.before_accepting = None

            nats_server.kill()
            nats_server.start()
            answer = await asyncio.wait_for(asking, 15)

    assert answer.status_code == 200
    assert len(embedder.embedded) == 2


async def address_of(host):
    found = asyncio.get_running_loop().create_future()

    def hear(beat):
        if not found.done():
            found.set_result(beat.url)

    await host.bus.listen(GATEWAY_BEAT, hear, gateway_id(host.service, host.id))
    return await asyncio.wait_for(found, 5)
