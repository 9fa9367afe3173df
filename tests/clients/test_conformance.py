"""Every row of docs/dialects.md is tried against the real mesh, and none is missing."""

import json
import re
from typing import Any, get_type_hints

import anthropic.types
import httpx
import openai.types.chat.completion_create_params as chat_params
import openai.types.completion_create_params as text_params
import openai.types.responses.response_create_params as response_params
import pytest
from anthropic.types import message_create_params
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from tests.clients.conformance import Row, paths, rows
from tests.parrot import script

CHAT, TEXT = "POST /v1/chat/completions", "POST /v1/completions"
RESPONSES, MESSAGES = "POST /v1/responses", "POST /v1/messages"
SAY = script('{"rain": 1}')
"""JSON, since it talks at random, for as long as it likes, where it may not say what it is told:
where it has to call, that is a call."""
CALL = script('<tool_call>\n{"name": "weather", "arguments": {"city": "Brest"}}\n</tool_call>')
THINK = script("<think>Clouds.</think>\n\nIt rains.")
WEATHER = {
    "name": "weather",
    "description": "What the sky does.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
USER = [{"role": "user", "content": SAY}]
PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"model": "parrot", "messages": USER},
    TEXT: {"model": "tiny", "prompt": "Once", "max_tokens": 4},
    RESPONSES: {"model": "parrot", "input": SAY},
    MESSAGES: {"model": "parrot", "max_tokens": 64, "messages": USER},
}
FIELDS: dict[str, set[str]] = {
    CHAT: set(get_type_hints(chat_params.CompletionCreateParamsBase)) | {"stream"},
    TEXT: set(get_type_hints(text_params.CompletionCreateParamsBase)) | {"stream"},
    RESPONSES: set(get_type_hints(response_params.ResponseCreateParamsBase)) | {"stream"},
    MESSAGES: set(get_type_hints(message_create_params.MessageCreateParamsBase)) | {"stream"},
}
CALLING: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": CALL}]},
    RESPONSES: {"input": CALL},
    MESSAGES: {"messages": [{"role": "user", "content": CALL}]},
}
REQUESTS, ANSWERS = rows("request"), rows("answer")


@pytest.mark.parametrize("surface", FIELDS)
def test_every_field_of_the_vendors_types_has_a_row(surface: str) -> None:
    described = {row.field.partition(".")[0] for row in REQUESTS if row.surface == surface}

    assert FIELDS[surface] - described == set()


def _names(row: Row) -> set[str]:
    """What a refusal may call a field: by its name, or by the type of what stands in it."""
    types = re.findall(r'"type": "(\w+)"', json.dumps(row.tried))
    return {row.field.partition(".")[0], *types}


def _asked(row: Row) -> dict[str, Any]:
    tried = row.tried or {}
    has_to_call = bool(tried.keys() & {"tool_choice", "function_call"})
    said = CALLING[row.surface] if has_to_call else {}
    return PLAIN[row.surface] | said | tried


@pytest.mark.parametrize("row", REQUESTS, ids=str)
def test_a_request_field_does_what_its_row_says(http: httpx.Client, row: Row) -> None:
    body = _asked(row)
    answer = http.post(row.surface.removeprefix("POST "), json=body)

    if row.verdict == "refused":
        assert answer.status_code in (400, 404), answer.text
        error = answer.json()["error"]
        said = f"{error.get('param')} {error['message']}"
        assert any(name in said for name in _names(row))
        return
    assert answer.status_code == 200, answer.text
    ignored = answer.headers.get("x-odyssai-ignored", "").split(", ")
    assert (row.field in ignored) == (row.verdict == "ignored")


@pytest.mark.parametrize(
    "row", [row for row in REQUESTS if row.verdict != "refused" and row.field != "stream"], ids=str
)
def test_it_does_so_in_a_stream_too(http: httpx.Client, row: Row) -> None:
    body = _asked(row) | {"stream": True}
    answer = http.post(row.surface.removeprefix("POST "), json=body)

    assert answer.status_code == 200, answer.text
    assert "error" not in {event.partition('"')[0] for event in answer.text.split('"type":"')}
    assert any(end in answer.text for end in ("data: [DONE]", "message_stop", "response.completed"))


SAID: dict[str, list[dict[str, Any]]] = {
    CHAT: [
        {},
        {"messages": [{"role": "user", "content": THINK}]},
        {
            "messages": [{"role": "user", "content": CALL}],
            "tools": [{"type": "function", "function": WEATHER}],
        },
        {"logprobs": True, "top_logprobs": 2},
        {
            "messages": [{"role": "user", "content": CALL}],
            "functions": [WEATHER],
        },
    ],
    TEXT: [{}, {"logprobs": 2}],
    RESPONSES: [
        {},
        {"input": THINK},
        {"input": CALL, "tools": [{"type": "function", "strict": True, **WEATHER}]},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"max_output_tokens": 16, "input": script("It rains and rains and rains and rains.")},
    ],
    MESSAGES: [
        {},
        {"messages": [{"role": "user", "content": THINK}]},
        {
            "messages": [{"role": "user", "content": CALL}],
            "tools": [
                {
                    "name": "weather",
                    "input_schema": WEATHER["parameters"],
                }
            ],
        },
    ],
}
MODELS: dict[str, type[BaseModel]] = {
    CHAT: ChatCompletion,
    TEXT: Completion,
    RESPONSES: Response,
    MESSAGES: anthropic.types.Message,
}


@pytest.fixture(scope="module")
def seen(mesh: Any) -> dict[str, list[set[str]]]:
    """The fields of whole answers, by surface."""
    found: dict[str, list[set[str]]] = {}
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as client:
        for surface, asked in SAID.items():
            answers = [
                client.post(surface.removeprefix("POST "), json=PLAIN[surface] | more)
                for more in asked
            ]
            assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers]
            found[surface] = [paths(answer.json()) for answer in answers]
    return found


@pytest.mark.parametrize("row", ANSWERS, ids=str)
def test_an_answer_field_is_there_when_its_row_says(
    seen: dict[str, list[set[str]]], row: Row
) -> None:
    has = [row.field in answer for answer in seen[row.surface]]

    assert {"always": all(has), "sometimes": any(has) and not all(has), "never": not any(has)}[
        row.verdict
    ]


@pytest.mark.parametrize("surface", MODELS)
def test_every_field_of_the_vendors_answers_has_a_row_and_every_one_of_ours(
    seen: dict[str, list[set[str]]], surface: str
) -> None:
    described = {row.field for row in ANSWERS if row.surface == surface}

    assert set(MODELS[surface].model_fields) - described == set()
    assert set().union(*seen[surface]) - described == set()
