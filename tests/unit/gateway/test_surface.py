"""What HTTP clients see besides answers: lists, documents, refusals, headers."""

import json

import httpx
import pytest

from services.gateway.openapi import document
from tests.unit.gateway.scripted import ALIAS, MODEL

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


async def test_models_are_listed_under_id_and_alias(openai):
    listed = {model.id: model async for model in await openai.models.list()}

    assert set(listed) == {MODEL, ALIAS}
    assert listed[ALIAS].x_odyssai["alias_for"] == MODEL
    assert listed[MODEL].x_odyssai["context_length"] == 2048
    assert listed[MODEL].x_odyssai["ready"] is True


async def test_a_model_with_a_slash_in_its_id_is_shown(openai, http):
    assert (await openai.models.retrieve(MODEL)).id == MODEL
    assert (await http.get(f"/v1/models/{MODEL}")).json()["id"] == MODEL
    assert (await http.get("/v1/models/no/such")).status_code == 404


async def test_models_have_the_vendors_shape_for_anthropics_clients(anthropic):
    listed = await anthropic.models.list()

    assert [model.id for model in listed.data] == [MODEL, ALIAS]
    assert (await anthropic.models.retrieve(MODEL)).max_input_tokens == 2048
    assert listed.data[0].created_at.year == 2023


async def test_the_contract_satisfies_both_readers_and_holds(http):
    contract = (await http.get("/.well-known/inference-engine.json")).json()

    assert contract["vendor"] == "odyssai.eu"
    assert contract["features"] == ["sse-streaming", "prefix-cache", "openai-models-extended"]
    assert contract["limits"] == {"max_concurrent_requests": 12, "max_prompt_chars": 2_000_000}
    assert contract["capabilities"]["max_context"] == 2048
    assert contract["capabilities"]["tools"] is False
    fields = contract["extensions"]["x_odyssai"]["fields"]
    assert set(contract["models"][0]["x_odyssai"]) == set(fields)
    assert contract["auth"]["required"] is False


async def test_live_is_not_the_same_as_ready(address):
    async with httpx.AsyncClient(base_url=address) as http:
        assert (await http.get("/health")).json()["status"] == "ok"
        ready = await http.get("/ready")

    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "No engine" in ready.json()["why"]


async def test_ready_once_an_engine_serves(http):
    assert (await http.get("/ready")).json()["ready"] is True
    assert (await http.get("/health")).json()["models_loaded"] == [MODEL]


@pytest.mark.parametrize(
    ("path", "word"),
    [("/v1/chat/completions", "invalid_request"), ("/v1/messages", "invalid_request_error")],
)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"\xff"}', b'{"model": 5}'])
async def test_a_malformed_body_is_a_400_in_the_dialect_of_its_path(http, path, word, body):
    answer = await http.post(path, content=body)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert word == error.get("code", error["type"])


async def test_another_content_type_is_refused(http):
    answer = await http.post(
        "/v1/chat/completions", content=json.dumps(CHAT), headers={"content-type": "text/plain"}
    )

    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_beyond_the_limit_is_refused(http, is_declared):
    async def megabytes():
        for _ in range(33):
            yield b" " * 2**20

    body = b" " * 33 * 2**20 if is_declared else megabytes()
    answer = await http.post("/v1/messages", content=body)

    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"


async def test_a_prompt_beyond_the_advertised_limit_is_refused(http):
    long = [{"role": "user", "content": "x" * 2_000_001}]
    answer = await http.post("/v1/chat/completions", json=CHAT | {"messages": long})

    assert answer.status_code == 413
    assert "2000000" in answer.json()["error"]["message"]


async def test_the_longest_prompt_that_is_advertised_is_carried(http, scripted):
    long = [{"role": "user", "content": "\N{GRINNING FACE}" * 2_000_000}]
    answer = await http.post("/v1/chat/completions", json=CHAT | {"messages": long})

    assert answer.status_code == 200
    assert len(scripted.asked[0].prompt.turns[0].content) == 2_000_000


async def test_a_wrong_method_is_a_405_that_names_the_right_one(http):
    answer = await http.get("/v1/messages")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert answer.json()["type"] == "error"
    assert (await http.post("/v1/models")).json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/nowhere", "/v1/moderations", "/v1/messages/batches"])
async def test_what_is_not_there_is_a_404_in_dialect(http, path):
    answer = await http.post(path)

    assert answer.status_code == 404
    assert path in answer.json()["error"]["message"]
    assert ("type" in answer.json()) == path.startswith("/v1/messages")


async def test_pages_of_other_origins_read_nothing_unless_they_are_allowed(http):
    preflight = await http.options("/v1/chat/completions", headers={"origin": "http://x"})
    answer = await http.get("/v1/models", headers={"origin": "http://x"})

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-origin" not in {*preflight.headers, *answer.headers}


async def test_head_is_answered_like_get_without_a_body(http):
    answer = await http.head("/v1/models")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_openapi_document_is_served_and_its_references_hold(http):
    served = (await http.get("/openapi.json")).json()
    schemas = served["components"]["schemas"]

    references = [part.split('"')[0] for part in json.dumps(served).split("#/components/schemas/")]
    assert served == json.loads(json.dumps(document()))
    assert set(references[1:]) <= set(schemas)
    body = served["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert schemas[name]["additionalProperties"] is False
    assert (await http.get("/schema")).json() == served
    assert set(served["paths"]["/v1/messages"]["post"]["responses"]) >= {"200", "400", "429"}
