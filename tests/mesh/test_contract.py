"""What /.well-known/inference-engine.json promises is there, and what it denies is not."""

from typing import Any

import httpx
import openai
import pytest

from tests.mesh.asking import chat, message_body, posted, text
from tests.mesh.house import Mesh
from tests.mesh.telemetry import Telemetry


@pytest.fixture
def contract(http: httpx.Client) -> dict[str, Any]:
    answer = http.get("/.well-known/inference-engine.json")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def test_both_kinds_of_readers_find_their_keys(contract: dict[str, Any]) -> None:
    assert contract.keys() >= {
        "name", "vendor", "version", "api_compat", "auth", "features", "limits", "admin",
        "extensions",
    }  # fmt: skip
    assert contract.keys() >= {"engine", "version", "capabilities", "models"}
    assert contract["vendor"] == "odyssai.eu"
    assert contract["auth"].keys() >= {
        "required", "scheme", "scope", "public_routes", "eventsource_query_fallback",
    }  # fmt: skip
    assert contract["capabilities"].keys() >= {
        "stream", "tools", "vision", "embeddings", "max_context", "session_cache",
        "openai_compat", "anthropic_compat", "speculative_decoding",
    }  # fmt: skip


OFFERED = {
    "tool-calling": "tools", "vision": "vision", "embeddings": "embeddings", "rerank": "rerank",
    "reasoning": "reasoning", "structured-outputs": "structured_outputs",
}  # fmt: skip
"""Features that some models have, and the capabilities that say the same."""


def test_every_promised_feature_is_one_that_is_tested_here(contract: dict[str, Any]) -> None:
    capabilities, features = contract["capabilities"], contract["features"]
    assert features[:3] == ["sse-streaming", "prefix-cache", "openai-models-extended"]
    assert features[3:] == [name for name, same in OFFERED.items() if capabilities[same]]
    assert contract["api_compat"] == [
        "openai/v1", "openai/responses", "anthropic/v1", "ollama/api",
    ]  # fmt: skip
    promised = {name for name, value in capabilities.items() if value is True}
    assert promised - set(OFFERED.values()) == {
        "stream", "session_cache", "openai_compat", "anthropic_compat", "ollama_compat",
    }  # fmt: skip


def test_every_admin_endpoint_that_is_named_is_there(
    contract: dict[str, Any], http: httpx.Client
) -> None:
    admin = contract["admin"]
    named = {name: path for name, path in admin.items() if name.endswith("_endpoint")}
    assert {name for name, value in admin.items() if value is True} == {"supports_pool_load_unload"}
    for name, path in named.items():
        orders = name in ("load_endpoint", "unload_endpoint")
        answer = http.post(path, json={}) if orders else http.get(path)
        assert answer.status_code == (400 if orders else 200), answer.text


def test_every_dialect_that_is_named_is_spoken(mesh: Mesh) -> None:
    turns = chat()["messages"]
    for path, body in (
        ("/v1/chat/completions", chat(max_tokens=2)),
        ("/v1/responses", {"model": "tiny", "input": "Hi", "max_output_tokens": 16}),
        ("/v1/messages", message_body(max_tokens=2)),
        ("/api/chat", {"model": "tiny", "messages": turns, "options": {"num_predict": 2}}),
    ):
        assert posted(mesh, path, body).status_code == 200, path


def test_answers_stream_in_both_dialects(mesh: Mesh) -> None:
    for path, body in (("chat/completions", chat()), ("messages", message_body())):
        answer = posted(mesh, f"/v1/{path}", body | {"stream": True})

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "data: " in answer.text


def test_a_prefix_is_read_once(gpt: openai.OpenAI) -> None:
    asked = chat(extra_body={"session_id": "kept"})
    gpt.chat.completions.create(**asked)

    usage = gpt.chat.completions.create(**asked).usage

    assert usage
    assert usage.prompt_tokens_details
    assert usage.prompt_tokens_details.cached_tokens


def test_models_are_the_listed_ones_with_all_extended_fields(
    contract: dict[str, Any], http: httpx.Client
) -> None:
    listed = http.get("/v1/models").json()["data"]

    assert contract["models"] == [
        {"id": entry["id"], "x_odyssai": entry["x_odyssai"]} for entry in listed
    ]
    for entry in listed:
        assert entry["x_odyssai"].keys() == set(contract["extensions"]["x_odyssai"]["fields"])
        assert posted_ok(http, entry["id"])
    contexts = [entry["x_odyssai"]["context_length"] for entry in listed]
    assert contract["capabilities"]["max_context"] == max(contexts) == 65536


def posted_ok(http: httpx.Client, model: str) -> bool:
    answer = http.post("/v1/chat/completions", json=chat(model=model, max_tokens=1))
    return answer.status_code == 200 and answer.json()["model"] == model


async def test_the_limit_of_requests_is_that_of_the_engines(
    mesh: Mesh, telemetry: Telemetry
) -> None:
    beats = await telemetry.idle()
    async with httpx.AsyncClient(base_url=mesh.url, trust_env=False) as http:
        contract = (await http.get("/.well-known/inference-engine.json")).json()

    room = sum(beat["slots"] + beat["queue_limit"] for beat in beats.values())
    assert contract["limits"]["max_concurrent_requests"] == room


def test_the_limit_of_a_prompt_is_kept(contract: dict[str, Any], mesh: Mesh) -> None:
    most = contract["limits"]["max_prompt_chars"]
    refused = posted(mesh, "/v1/completions", text(prompt="y" * (most + 1)))
    just = posted(mesh, "/v1/completions", text(prompt="y" * most))

    assert refused.status_code == 413
    assert just.status_code == 400  # It was read, and does not fit into the model's context.


def test_no_key_is_asked_for_and_none_is_minded(contract: dict[str, Any], mesh: Mesh) -> None:
    assert contract["auth"]["required"] is False
    assert contract["auth"]["public_routes"] == ["/*"]
    for headers in ({}, {"authorization": "Bearer any"}, {"x_api_key": "any"}):
        answer = posted(mesh, "/v1/chat/completions", chat(max_tokens=1), **headers)

        assert answer.status_code == 200


def test_what_is_promised_is_done_and_what_is_denied_is_refused(
    contract: dict[str, Any], mesh: Mesh
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    asked = {"model": "tiny", "messages": chat()["messages"], "options": {"num_predict": 8}}
    asking = {
        "tools": ("/api/chat", asked | {"tools": [tool]}),
        "structured_outputs": ("/api/chat", asked | {"format": "json"}),
        "reasoning": ("/api/chat", asked | {"think": True}),
        "embeddings": ("/api/embed", {"model": "tiny", "input": "x"}),
    }

    for name, (path, body) in asking.items():
        expected = 200 if contract["capabilities"][name] else 400
        assert posted(mesh, path, body).status_code == expected, name


def test_what_it_points_to_is_there(contract: dict[str, Any], http: httpx.Client) -> None:
    assert http.get(contract["extensions"]["x_odyssai"]["doc"]).status_code == 200
    assert http.get("/health").json()["version"] == contract["version"]
