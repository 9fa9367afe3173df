"""What an engine enforces, asked for from outside: a scripted model, with code of its own."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.mesh.house import Mesh
from tests.parrot import script

SCHEMA = {
    "type": "object",
    "properties": {"at": {"enum": ["sun", "moon"]}},
    "required": ["at"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
LOOK = {"type": "function", "function": {"name": "look", "strict": True, "parameters": SCHEMA}}


@pytest.fixture
def parrot(parrots: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{parrots.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str, **settings: Any) -> Any:
    turn = {"role": "user", "content": script(text)}
    return client.chat.completions.create(
        model="parrot",
        messages=[turn],  # type: ignore[list-item]
        temperature=0,
        max_tokens=200,
        **settings,
    ).choices[0]


def test_a_format_follows_the_thinking(parrot: openai.OpenAI) -> None:
    answer = ask(parrot, '<think>mars?</think>{"at": "mars"}', response_format=FORMAT)
    assert answer.message.reasoning_content == "mars?"
    assert json.loads(answer.message.content)["at"] in ("sun", "moon")
    assert answer.finish_reason == "stop"


def test_a_strict_call_keeps_its_schema(parrot: openai.OpenAI) -> None:
    said = '<tool_call>\n{"name": "look", "arguments": {"at": "mars"}}\n</tool_call>'
    answer = ask(parrot, f"<think>hm</think>Wait.{said}", tools=[LOOK])
    assert answer.message.content == "Wait."
    (call,) = answer.message.tool_calls
    assert json.loads(call.function.arguments)["at"] in ("sun", "moon")
    assert answer.finish_reason == "tool_calls"


def test_a_budget_of_thinking_is_kept(parrot: openai.OpenAI) -> None:
    answer = ask(parrot, "<think>so it goes</think>Yes.", extra_body={"thinking_budget": 2})
    assert 0 < len(answer.message.reasoning_content) < len("so it goes")


def test_what_cannot_be_enforced_is_named(parrot: openai.OpenAI) -> None:
    impossible = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
    with pytest.raises(openai.BadRequestError, match="'not'") as refused:
        ask(parrot, "x", response_format=impossible)
    assert refused.value.param == "response_format"
