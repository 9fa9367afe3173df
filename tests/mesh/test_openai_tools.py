"""OpenAI's SDK against real engines: tools, thinking and formats, from template to typed event."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.mesh.house import Mesh
from tests.parrot import script

CALL = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
TWO = "Let me see.\n" + CALL % ("weather", '{"city": "Oslo"}') + "\n" + CALL % ("clock", "{}")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}},
]


@pytest.fixture
def gpt(parrots: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{parrots.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def say(text: str, **asked: Any) -> dict[str, Any]:
    """A question to which the model wants to say this."""
    turns = [{"role": "user", "content": script(text)}]
    return {"model": "parrot", "messages": turns, "temperature": 0} | asked


def called(message: Any) -> list[tuple[str, Any]]:
    calls = message.tool_calls or ()
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def test_calls_are_told_from_words_whole_and_streamed(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(**say(TWO, tools=TOOLS)).choices[0]
    with gpt.chat.completions.stream(**say(TWO, tools=TOOLS)) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        streamed = stream.get_final_completion().choices[0]

    for choice in (whole, streamed):
        assert choice.finish_reason == "tool_calls"
        assert called(choice.message) == [("weather", {"city": "Oslo"}), ("clock", {})]
    assert whole.message.content == said
    assert said.strip() == "Let me see."
    ids = [call.id for call in whole.message.tool_calls or ()]
    assert len(set(ids)) == 2


def test_a_whole_round_of_calls_and_answers(gpt: openai.OpenAI) -> None:
    asked = say(CALL % ("clock", "{}"), tools=TOOLS)
    message = gpt.chat.completions.create(**asked).choices[0].message
    assert message.tool_calls
    answer = {
        "role": "tool",
        "tool_call_id": message.tool_calls[0].id,
        "content": script("It is noon."),
    }

    after = gpt.chat.completions.create(
        **asked | {"messages": [*asked["messages"], message, answer]}
    )

    assert after.choices[0].message.content == "It is noon."
    assert after.choices[0].finish_reason == "stop"


def test_the_named_tool_is_called_though_the_model_would_call_another(gpt: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": name}} for name in ("clock", "alarm")]
    choice = gpt.chat.completions.create(
        **say(CALL % ("clock", "{}"), tools=tools, tool_choice=tools[1], reasoning_effort="none")
    ).choices[0]

    assert called(choice.message) == [("alarm", {})]
    assert choice.finish_reason == "tool_calls"


def test_no_tool_is_called_where_none_may_be(gpt: openai.OpenAI) -> None:
    message = (
        gpt.chat.completions.create(**say("No call.", tools=TOOLS, tool_choice="none"))
        .choices[0]
        .message
    )

    assert (message.content, message.tool_calls) == ("No call.", None)


def test_functions_are_called_in_their_older_form(gpt: openai.OpenAI) -> None:
    choice = gpt.chat.completions.create(
        **say(CALL % ("clock", "{}"), functions=[{"name": "clock"}])
    ).choices[0]

    assert choice.finish_reason == "function_call"
    assert choice.message.function_call
    assert choice.message.function_call.name == "clock"


def test_thinking_stands_beside_the_content_and_is_counted(gpt: openai.OpenAI) -> None:
    asked = say("<think>hm</think>\n\nYes.")
    answer = gpt.chat.completions.create(**asked)
    hidden = gpt.chat.completions.create(**asked, extra_body={"include_reasoning": False})
    chunks = list(gpt.chat.completions.create(**asked, stream=True))

    message = answer.choices[0].message
    assert (message.content, (message.model_extra or {})["reasoning_content"]) == ("Yes.", "hm")
    assert answer.usage
    assert answer.usage.completion_tokens_details
    assert (answer.usage.completion_tokens_details.reasoning_tokens or 0) > 0
    assert hidden.choices[0].message.content == "Yes."
    assert not hidden.choices[0].message.model_extra
    thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning") for chunk in chunks]
    assert "".join(filter(None, thoughts)) == "hm"


@pytest.mark.parametrize("off", [{"reasoning_effort": "none"},
                                 {"extra_body": {"enable_thinking": False}}])  # fmt: skip
def test_thinking_can_be_turned_off(gpt: openai.OpenAI, off: dict[str, Any]) -> None:
    answer = gpt.chat.completions.create(**say("Yes.", **off))

    assert answer.choices[0].message.content == "Yes."
    assert not answer.choices[0].message.model_extra


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"type": "json_object"}, '{"a": 1}'),
        ({"type": "regex", "pattern": "[a-c]{3}-[0-9]{2}"}, "abc-42"),
        ({"type": "grammar", "grammar": 'start: "yes" | "no"'}, "no"),
    ],
)
def test_formats_are_kept_to_in_both_endpoints(
    gpt: openai.OpenAI, wanted: dict[str, Any], said: str
) -> None:
    chat: Any = gpt.chat.completions.create(
        **say(said, extra_body={"response_format": wanted}, max_tokens=60)
    )
    completion = gpt.completions.create(
        model="parrot",
        prompt="x",
        temperature=0,
        max_tokens=60,
        extra_body={"response_format": wanted},
    )

    assert chat.choices[0].message.content == said
    if wanted["type"] == "grammar":
        assert completion.choices[0].text in ("yes", "no")


def test_a_schema_that_cannot_be_kept_to_is_a_400_that_names_it(gpt: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}

    with pytest.raises(openai.BadRequestError) as refused:
        gpt.chat.completions.create(**say("x", response_format=wanted))

    assert refused.value.param
    assert refused.value.param.startswith("response_format")
