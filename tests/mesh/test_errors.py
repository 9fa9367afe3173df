"""What cannot be served is refused with the right status, in the words of the dialect asked in."""

from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.mesh.asking import chat, message, message_body, posted, text
from tests.mesh.house import Mesh

CHAT, TEXT, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
BODIES: dict[str, Callable[..., dict[str, Any]]] = {
    CHAT: chat,
    TEXT: text,
    MESSAGES: message_body,
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY"
    "42YAAAAASUVORK5CYII="
)
EVERYWHERE = pytest.mark.parametrize("path", BODIES)


def told(answer: httpx.Response, path: str) -> dict[str, Any]:
    """The error in an answer, after a look at the envelope around it."""
    body: dict[str, Any] = answer.json()
    error: dict[str, Any] = body["error"]
    assert answer.headers["content-type"].startswith("application/json")
    if path == MESSAGES:
        assert body["type"] == "error"
        assert body["request_id"] == answer.headers["request-id"]
        assert set(error) == {"type", "message"}
    else:
        assert set(error) == {"message", "type", "param", "code"}
    return error


def test_the_openai_sdk_raises_what_fits(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="absent") as absent:
        gpt.chat.completions.create(**chat(model="absent"))
    with pytest.raises(openai.BadRequestError) as wrong:
        gpt.chat.completions.create(**chat(temperature=3))

    assert (absent.value.code, absent.value.param) == ("model_not_found", "model")
    assert wrong.value.param == "temperature"


def test_the_anthropic_sdk_raises_what_fits(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="absent") as absent:
        claude.messages.create(**message(model="absent"))
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        claude.messages.create(**message(max_tokens=0))

    assert absent.value.request_id


@EVERYWHERE
@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_404_that_lists_what_there_is(
    mesh: Mesh, path: str, stream: bool
) -> None:
    answer = posted(mesh, path, BODIES[path](model="absent", stream=stream))

    assert answer.status_code == 404
    assert "tiny" in told(answer, path)["message"]


@EVERYWHERE
def test_an_unknown_field_is_named(mesh: Mesh, path: str) -> None:
    answer = posted(mesh, path, BODIES[path](temprature=1))

    assert answer.status_code == 400
    assert "temprature" in told(answer, path)["message"]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (CHAT, "modalities", ["text", "audio"]),
        (TEXT, "suffix", "end"),
        (TEXT, "best_of", 5),
        (MESSAGES, "tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        (MESSAGES, "thinking", {"type": "enabled", "budget_tokens": 2000}),
        (MESSAGES, "container", "c1"),
        (MESSAGES, "mcp_servers", [{"type": "url", "url": "http://x", "name": "x"}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_honoured_is_named_and_not_dropped(
    mesh: Mesh, path: str, field: str, value: Any
) -> None:
    answer = posted(mesh, path, BODIES[path](**{field: value}))

    error = told(answer, path)
    assert answer.status_code == 400
    assert field in error["message"]
    if path != MESSAGES:
        assert error["param"].startswith(field)
        assert error["code"] == "unsupported_parameter"


def test_an_echo_of_token_ids_or_with_logprobs_is_refused(mesh: Mesh) -> None:
    for more in ({"prompt": [1, 2]}, {"logprobs": 0}):
        answer = posted(mesh, TEXT, text(echo=True, **more))

        assert answer.status_code == 400
        assert told(answer, TEXT)["param"] == "echo"


def test_a_picture_for_a_model_that_only_reads_is_refused(mesh: Mesh) -> None:
    picture = {"type": "image_url", "image_url": {"url": PIXEL}}
    answer = posted(mesh, CHAT, chat(messages=[{"role": "user", "content": [picture]}]))

    error = told(answer, CHAT)
    assert answer.status_code == 400, error
    assert error["param"] == "messages"
    assert "tiny" in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"), ("top_p", 1.5), ("n", 0), ("max_tokens", -1), ("max_tokens", 1.5),
        ("stop", 7), ("stop", list("abcde")), ("seed", "x"), ("logit_bias", {"cat": "x"}),
        ("logit_bias", {"99999": 1}), ("top_logprobs", 2), ("messages", []), ("messages", "hi"),
        ("model", None), ("stream_options", {"include_all": True}), ("presence_penalty", 9),
        ("tool_choice", "required"), ("tools", [{"type": "function", "function": {"name": "a b"}}]),
        ("reasoning_effort", "tremendous"), ("response_format", {"type": "json_schema"}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(mesh: Mesh, field: str, value: Any) -> None:
    answer = posted(mesh, CHAT, chat(**{field: value}))

    error = told(answer, CHAT)
    assert answer.status_code == 400, error
    assert field in f"{error['param']}"
    assert error["type"] == "invalid_request_error"


@EVERYWHERE
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": "tiny"}']
)
def test_a_broken_body_is_a_400(mesh: Mesh, path: str, body: bytes) -> None:
    answer = posted(mesh, path, body, content_type="application/json")

    assert answer.status_code == 400
    assert told(answer, path)["message"]


@EVERYWHERE
def test_what_is_too_large_is_a_413(mesh: Mesh, path: str) -> None:
    body = BODIES[path](**{"prompt" if path == TEXT else "content": "x" * 2_000_001})
    answer = posted(mesh, path, body)

    assert answer.status_code == 413
    assert "2000000" in told(answer, path)["message"]


@EVERYWHERE
@pytest.mark.parametrize("stream", [False, True])
def test_an_overfull_context_is_a_400_with_both_numbers(
    mesh: Mesh, path: str, stream: bool
) -> None:
    prompt = "q" * 9000
    asked = BODIES[path](**{"prompt" if path == TEXT else "content": prompt}, stream=stream)
    answer = posted(mesh, path, asked)

    error = told(answer, path)
    assert answer.status_code == 400
    assert "8192" in error["message"]
    counted = 9000
    if path == MESSAGES:
        body = {name: asked[name] for name in ("model", "messages")}
        counted = posted(mesh, f"{path}/count_tokens", body).json()["input_tokens"]
    if path != CHAT:
        assert str(counted) in error["message"]
    if path != MESSAGES:
        assert error["code"] == "context_length_exceeded"


def test_a_prompt_that_just_fits_is_served(gpt: openai.OpenAI) -> None:
    answer = gpt.completions.create(**text(prompt=[5] * 8191, max_tokens=50))

    assert answer.usage
    assert answer.usage.completion_tokens == 1
    assert answer.choices[0].finish_reason == "length"


def test_a_strange_token_is_refused(mesh: Mesh) -> None:
    answer = posted(mesh, TEXT, text(prompt=[5, 512]))

    assert answer.status_code == 400
    assert "512" in told(answer, TEXT)["message"]


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "1e99"])
def test_a_senseless_deadline_is_refused(mesh: Mesh, timeout: str) -> None:
    answer = posted(mesh, CHAT, chat(), X_Request_Timeout=timeout)

    assert answer.status_code == 400
    assert "X-Request-Timeout" in told(answer, CHAT)["message"]


def test_wrong_doors_are_named(http: httpx.Client) -> None:
    assert http.get("/v1/chat/completions").status_code == 405
    assert http.get("/v1/chat/completions").headers["allow"] == "POST, OPTIONS"
    assert http.post("/v1/models").status_code == 405
    assert http.get("/v1/nothing").status_code == 404
    assert http.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert http.get("/v1/messages/batches").json()["type"] == "error"
