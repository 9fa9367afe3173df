"""Whatever is posted to a gateway: an answer or an error in its dialect."""

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proto.dialects import anthropic, embeddings, ollama, openai, rerank, tokens
from proto.dialects.responses import request as responses
from tests.fuzz import bodies, house
from tests.unit.gateway.scripted import MODEL

TYPES = {
    "/v1/chat/completions": openai.ChatRequest,
    "/v1/completions": openai.CompletionRequest,
    "/v1/messages": anthropic.MessagesRequest,
    "/v1/messages/count_tokens": anthropic.CountRequest,
    "/v1/responses": responses.CreateRequest,
    "/v1/embeddings": embeddings.EmbeddingsRequest,
    "/v1/rerank": rerank.RerankRequest,
    "/v1/tokenize": tokens.TokenizeRequest,
    "/v1/detokenize": tokens.DetokenizeRequest,
    "/api/chat": ollama.ChatRequest,
    "/api/generate": ollama.GenerateRequest,
}
DIALECTS = {
    "openai": ["/v1/chat/completions", "/v1/completions"],
    "responses": ["/v1/responses"],
    "anthropic": ["/v1/messages", "/v1/messages/count_tokens"],
    "ollama": ["/api/chat", "/api/generate", "/api/embed", "/api/show"],
    "reading": ["/v1/embeddings", "/v1/rerank", "/v1/tokenize", "/v1/detokenize"],
}
WITHIN_S = 20.0
"""Silence is what this is for; the cores may be shared with much else."""
SHARED = settings(
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much,
        HealthCheck.data_too_large, HealthCheck.large_base_example,
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def http(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    patch = pytest.MonkeyPatch()
    patch.setenv("ODYSSAI_PORT", "0")
    patch.setenv("ODYSSAI_DRAIN_S", "0.5")
    patch.setenv("ODYSSAI_LOAD_WAIT_S", "0")
    patch.setenv("ODYSSAI_IMAGE_FETCH_S", "0")
    with house.gateway(nats_url, tmp_path_factory.mktemp("fuzz")) as url:
        patch.undo()
        with httpx.Client(base_url=url, timeout=WITHIN_S, trust_env=False) as http:
            yield http


def check(http: httpx.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})

    said = answer.content[:500]
    assert answer.status_code < 500 or answer.status_code == 503, (answer.status_code, said, body)
    if answer.is_error:
        _expect_error(path, answer.json())
    elif "json" in answer.headers["content-type"]:
        for line in answer.text.splitlines():
            json.loads(line)


def _expect_error(path: str, said: object) -> None:
    """In the dialect, with a sentence."""
    assert isinstance(said, dict)
    if path.startswith("/v1/messages"):
        assert said["type"] == "error"
        assert said["error"]["type"]
        assert said["error"]["message"]
    elif path.startswith("/api/"):
        assert isinstance(said["error"], str)
        assert said["error"]
    else:
        assert {"message", "type", "code", "param"} <= said["error"].keys()
        assert said["error"]["message"]


@SHARED
@given(data=st.data())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_real_body_that_was_tampered_with(http, dialect, data):
    path = data.draw(st.sampled_from(DIALECTS[dialect]))
    check(http, path, data.draw(bodies.mutated(path)))


@SHARED
@given(data=st.data())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_whose_bytes_are_damaged(http, dialect, data):
    path = data.draw(st.sampled_from(DIALECTS[dialect]))
    check(http, path, data.draw(bodies.garbled(path)))


@SHARED
@given(data=st.data())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_that_its_type_allows(http, dialect, data):
    path = data.draw(st.sampled_from([one for one in DIALECTS[dialect] if one in TYPES]))
    body = data.draw(bodies.typed(TYPES[path]))
    if data.draw(st.booleans()):
        body["model"] = MODEL
    check(http, path, bodies.encoded(body))


@SHARED
@given(path=st.sampled_from(sorted(bodies.REAL)), body=st.binary(max_size=200))
def test_any_bytes(http, path, body):
    check(http, path, body)


def test_every_path_is_tried():
    assert sorted(path for paths in DIALECTS.values() for path in paths) == sorted(bodies.REAL)
