"""Whatever the gateway's own document allows, and whatever it does not: no fault of ours."""

import copy
import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.mesh.asking import chat, message_body, text
from tests.mesh.house import Mesh

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def document(mesh: Mesh) -> Any:
    return schemathesis.openapi.from_url(f"{mesh.url}/openapi.json")


OPERATIONS = [
    ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("POST", "/v1/messages"),
    ("POST", "/v1/embeddings"), ("POST", "/v1/rerank"),
    ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models"), ("GET", "/v1/models/{model}"),
    ("GET", "/v1/usage"),
    ("GET", "/health"), ("GET", "/ready"), ("GET", "/.well-known/inference-engine.json"),
    ("GET", "/openapi.json"), ("GET", "/schema"), ("GET", "/"),
    ("POST", "/tokenize"), ("POST", "/detokenize"), ("POST", "/api/chat"),
    ("POST", "/api/generate"), ("POST", "/api/embed"), ("POST", "/api/embeddings"),
    ("POST", "/api/show"), ("POST", "/api/pull"), ("POST", "/api/push"), ("POST", "/api/create"),
    ("POST", "/api/copy"), ("GET", "/api/tags"), ("GET", "/api/ps"),
    ("GET", "/api/version"),
    ("POST", "/v1/responses"), ("POST", "/v1/responses/input_tokens"),
    ("POST", "/v1/responses/compact"), ("GET", "/v1/responses/{response_id}"),
    ("DELETE", "/v1/responses/{response_id}"), ("POST", "/v1/responses/{response_id}/cancel"),
    ("GET", "/v1/responses/{response_id}/input_items"),
    ("GET", "/admin/status"), ("GET", "/admin/models"), ("GET", "/admin/models/{model}"),
    ("GET", "/admin/plan"), ("GET", "/admin/nodes"), ("GET", "/admin/nodes/{node}"),
    ("GET", "/admin/jobs"),
    ("GET", "/admin/jobs/{job}"), ("GET", "/admin/jobs/{job}/events"), ("GET", "/admin/config"),
    ("GET", "/admin/config/models/{model}"), ("GET", "/admin/keys"),
    ("GET", "/admin/keys/{key}"), ("GET", "/admin/providers"),
    ("GET", "/admin/providers/{provider}"),
]  # fmt: skip


def changes_the_mesh(method: str, path: str) -> bool:
    """Other tests use it, too; tests/unit/gateway/admin tries these."""
    return path == "/api/delete" or (path.startswith("/admin/") and method != "GET")


def test_the_document_describes_what_is_tried_here(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]

    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {o for o in described if not changes_the_mesh(*o)} == set(OPERATIONS)


ANSWERING = {"/v1/chat/completions", "/v1/completions", "/v1/messages"}


def shorten(body: dict[str, Any], path: str) -> None:
    """Let the answer be short, whatever it is."""
    if path in ANSWERING:
        body["max_tokens"] = 2
    elif path in ("/api/chat", "/api/generate"):
        body["options"] = (body.get("options") or {}) | {"num_predict": 2}
    elif path == "/v1/responses":
        body["max_output_tokens"] = 2
    elif path == "/v1/responses/compact":
        body.pop("input", None)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(
    document: Any, method: str, path: str
) -> None:
    @settings(BOUNDED, max_examples=25 if method == "POST" else 5)
    @given(case=document[path][method].as_strategy())
    def ask(case: Any) -> None:
        # A deadline of no time at all is met with a 504, and rightly.
        (case.headers or {}).pop("X-Request-Timeout", None)
        if isinstance(case.body, dict):
            # As generated it would name a model that is not there; and answers shall be short.
            case.body["model"] = "tiny"
            shorten(case.body, path)
            for name in ("max_completion_tokens", "n", "best_of"):
                case.body.pop(name, None)
        case.call_and_validate(checks=CHECKS, timeout=20)

    ask()


ENDPOINTS = {
    "/v1/chat/completions": chat(max_tokens=1),
    "/v1/completions": text(max_tokens=1),
    "/v1/messages": message_body(max_tokens=1),
    "/v1/responses": {
        "model": "tiny",
        "input": chat()["messages"],
        "max_output_tokens": 1,
        "store": False,
    },
    "/api/chat": {"model": "tiny", "messages": chat()["messages"], "options": {"num_predict": 1}},
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    sorted({*chat(), *text(), "stop", "seed", "n", "stream", "logit_bias", "logprobs", "system",
            "stream_options", "top_p", "top_k", "metadata", "tools", "session_id", "x", "format",
            "think", "options", "keep_alive", "images", "tool_calls",
            "input", "instructions", "reasoning", "text", "include", "tool_choice", "background",
            "previous_response_id", "truncation", "content", "type"})
)  # fmt: skip


def is_refused_or_answered(answer: httpx.Response, path: str) -> None:
    assert answer.status_code in (200, 400, 404, 413), answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        if path.startswith("/api/"):
            assert error
            assert isinstance(error, str)
            return
        assert error["message"]
        assert error["type"]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_body_with_anything_anywhere_is_no_fault(mesh: Mesh, path: str) -> None:
    with httpx.Client(base_url=mesh.url, timeout=20, trust_env=False) as client:

        @settings(BOUNDED, max_examples=120)
        @given(field=fields, value=anything, is_inside=st.booleans())
        def ask(field: str, value: Any, is_inside: bool) -> None:
            body = copy.deepcopy(ENDPOINTS[path])
            turns = body.get("messages") or body.get("input")
            target = turns[0] if is_inside and turns else body
            target[field] = value
            if field == "options":
                # Without its bound an answer may fill the context.
                value = (value if isinstance(value, dict) else {"x": value}) | {"num_predict": 1}
                target[field] = value
            if field == "max_tokens" and (value is None or isinstance(value, int)):
                target[field] = 2  # An answer of thousands of tokens would show nothing more.
            content = json.dumps(body).encode()
            is_refused_or_answered(
                client.post(path, content=content, headers={"content-type": "application/json"}),
                path,
            )

        ask()


# Ollama's chat reads past unknown fields: a broken name would let the answer fill the context.
BREAKABLE = {path: body for path, body in ENDPOINTS.items() if path != "/api/chat"}
BREAKABLE["/api/embed"] = {"model": "tiny", "input": ["Some", "words"]}
BREAKABLE["/api/show"] = {"model": "tiny"}


@pytest.mark.parametrize("path", BREAKABLE)
def test_a_body_of_broken_bytes_is_a_400(mesh: Mesh, path: str) -> None:
    whole = json.dumps(BREAKABLE[path]).encode()
    with httpx.Client(base_url=mesh.url, timeout=20, trust_env=False) as client:

        @settings(BOUNDED, max_examples=60)
        @given(at=st.integers(0, len(whole) - 1), noise=st.binary(max_size=4), cut=st.booleans())
        def ask(at: int, noise: bytes, cut: bool) -> None:
            content = whole[:at] + noise + (b"" if cut else whole[at + 1 :])
            is_refused_or_answered(
                client.post(path, content=content, headers={"content-type": "application/json"}),
                path,
            )

        ask()
