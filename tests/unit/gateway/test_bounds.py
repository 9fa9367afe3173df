"""How much of anything a request may hold, and how that is said in every dialect."""

import json

import pytest

from proto.dialects.nesting import MOST, is_flat
from tests.unit.gateway.scripted import MODEL

HI = {"role": "user", "content": "Hi"}
CHAT = {"model": MODEL, "messages": [HI]}
SCHEMA = {"type": "object", "properties": {f"p{n}": {"description": "x" * 90} for n in range(3000)}}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
SEEN = [
    {"type": "text", "text": "a"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
]


def chat(**fields):
    return "/v1/chat/completions", CHAT | fields


def messages(**fields):
    return "/v1/messages", CHAT | {"max_tokens": 5} | fields


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


EXCESSIVE = {
    "turns": (chat(messages=[HI] * 10_001), "messages"),
    "turns of Anthropic's": (
        messages(messages=[HI, {"role": "assistant", "content": "Ho"}] * 5_001),
        "messages",
    ),
    "parts": (
        chat(messages=[{"role": "user", "content": SEEN * 1_001}]),
        "messages[0].content",
    ),
    "tools": (
        chat(tools=[{"type": "function", "function": FUNCTION | {"name": f"f{n}"}}
                    for n in range(1_025)]),
        "tools",
    ),
    "a tool's schema": (
        chat(tools=[{"type": "function", "function": FUNCTION | {"parameters": SCHEMA}}]),
        "tools[0]",
    ),
    "a schema": (
        chat(response_format={"type": "json_schema",
                              "json_schema": {"name": "s", "schema": SCHEMA}}),
        "response_format",
    ),
    "a pattern": (
        chat(response_format={"type": "regex", "pattern": "a" * 40_000}), "response_format",
    ),
    "a grammar": (
        chat(response_format={"type": "grammar", "grammar": 'start: "a"' + " " * 140_000}),
        "response_format",
    ),
    "stops": (messages(stop_sequences=["a"] * 65), "stop"),
    "a stop": (chat(stop="a" * 1_001), "stop"),
    "biases": (chat(logit_bias={str(n): 1 for n in range(1_025)}), "logit_bias"),
    "a biased word": (chat(logit_bias={"a" * 257: 1}), "logit_bias"),
    "options of a template": (chat(chat_template_kwargs={"x": "a" * 300_000}),
                              "chat_template_kwargs"),
    "the model's name": (chat(model="m" * 513), "model"),
    "a session": (chat(session_id="s" * 513), "session_id"),
    "a call's id": (
        chat(messages=[HI, {"role": "tool", "tool_call_id": "c" * 513, "content": ""}]),
        "messages[1].tool_call_id",
    ),
    "choices": (chat(n=129), "n"),
    "levels of a schema": (
        chat(response_format={"type": "json_schema",
                              "json_schema": {"name": "s", "schema": nested(60)}}),
        None,
    ),
    "levels of options": (chat(chat_template_kwargs=nested(60)), None),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCESSIVE)
async def test_too_much_is_refused_by_name(http, scripted, case):
    (path, body), field = EXCESSIVE[case]

    answer = await http.post(path, json=body)

    assert answer.status_code == 400, answer.text[:300]
    error = answer.json()["error"]
    if field is None:
        assert "levels" in error["message"]
    else:
        assert f"`{field}`" in error["message"]
    assert not scripted.asked


async def test_a_long_session_in_a_header_is_too_much_as_well(http):
    answer = await http.post(*chat()[:1], json=CHAT, headers={"x-session-id": "s" * 600})

    assert answer.status_code == 400
    assert "session_id" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "is_it"),
    [
        (b"[" * MOST + b"]" * MOST, True),
        (b"[" * (MOST + 1) + b"]" * (MOST + 1), False),
        (b'{"a":' * 101 + b"1" + b"}" * 101, False),
        (json.dumps(["[{" * 500, '"[\\', "]"]).encode(), True),
        (b"[" + b"[{}]," * 9999 + b"[]]", True),
        (json.dumps({"[": [{"{": "}"}] * 300}).encode(), True),
    ],
)
def test_levels_are_counted_outside_of_strings(body, is_it):
    assert is_flat(body) is is_it


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000, b'{"model":' + b"[" * 5000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
async def test_bottomless_json_is_a_400(http, path, body):
    answer = await http.post(path, content=body)

    assert answer.status_code == 400


async def test_fields_that_are_no_text_are_a_400_also_where_others_are_passed_over(http):
    body = b'{"model": "org/tiny-1.0", "prompt": "Hi", "\x80": 1}'

    assert (await http.post("/api/generate", content=body)).status_code == 400
