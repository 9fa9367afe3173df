"""Canonical words as an upstream hears them."""

from typing import Any

import msgspec
import pytest

from proto.dialects.anthropic import asked_messages
from proto.dialects.openai_thoughts import thoughts_of
from proto.errors import Code, MeshError
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Generate, Sampling
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import (
    Chat,
    ImagePart,
    Text,
    TextPart,
    Thinking,
    Thought,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)
from services.cloud.anthropic.body import body as anthropic_body
from services.cloud.openai.body import body

HI = (Turn(role="user", content="Hi"),)
TOOLS = (
    Tool(name="weather", description="Now.", parameters={"type": "object"}, strict=True),
    Tool(name="clock"),
)
CLOCK = {"type": "function", "function": {"name": "clock"}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object"},
        "strict": True,
    },
}


def generate(prompt: Chat | Text | Tokens | None = None, **fields: Any) -> Generate:
    return Generate(
        request=RequestId("r"),
        gateway=GatewayId("g"),
        model=ModelId("up:m"),
        prompt=prompt or Chat(turns=HI),
        **fields,
    )


def said(prompt: Chat | None = None, **fields: Any) -> dict[str, Any]:
    plain = body(generate(), "m", "max_tokens")[1]
    asked = body(generate(prompt, **fields), "m", "max_tokens")[1]
    return {name: value for name, value in asked.items() if plain.get(name) != value}


def refused(*prompt: Any, **fields: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        body(generate(*prompt, **fields), "m", "max_tokens")
    assert caught.value.code is Code.UNSUPPORTED_PARAMETER
    return caught.value


def test_every_turn_has_its_message() -> None:
    turns = (
        Turn(role="system", content="Be kind."),
        Turn(role="user", content=(TextPart(text="Look:"), ImagePart(url="data:image/png;,"))),
        Turn(
            role="assistant",
            reasoning="hm",
            calls=(ToolCall(id="a", name="clock", arguments="{}"),),
        ),
        Turn(role="tool", content="noon", call_id="a", name="clock"),
        Turn(role="assistant", content="Noon."),
    )

    assert said(Chat(turns=turns))["messages"] == [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;,"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "clock", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "a"},
        {"role": "assistant", "content": "Noon."},
    ]


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        (ToolChoice(), {"tools": [WEATHER, CLOCK]}),
        (ToolChoice(mode="none"), {"tools": [WEATHER, CLOCK], "tool_choice": "none"}),
        (ToolChoice(mode="required"), {"tools": [WEATHER, CLOCK], "tool_choice": "required"}),
        (ToolChoice(parallel=False), {"tools": [WEATHER, CLOCK], "parallel_tool_calls": False}),
        (ToolChoice(allowed=("clock",)), {"tools": [CLOCK]}),
        (
            ToolChoice(mode="required", allowed=("clock",)),
            {"tools": [CLOCK], "tool_choice": CLOCK},
        ),
        (
            ToolChoice(mode="required", allowed=("clock", "weather")),
            {"tools": [WEATHER, CLOCK], "tool_choice": "required"},
        ),
    ],
)
def test_tools_and_the_choice_among_them(choice: ToolChoice, asked: dict[str, Any]) -> None:
    assert said(Chat(turns=HI, tools=TOOLS, tool_choice=choice)) == asked


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        (Thinking(), None),
        (Thinking(enabled=True), None),
        (Thinking(enabled=False), "none"),
        (Thinking(effort="xhigh", budget_tokens=1), "xhigh"),
        (Thinking(budget_tokens=2048), "low"),
        (Thinking(budget_tokens=8192), "medium"),
        (Thinking(enabled=True, budget_tokens=9000), "high"),
    ],
)
def test_thinking_is_said_as_an_effort(thinking: Thinking, effort: str | None) -> None:
    asked = said(Chat(turns=HI, thinking=thinking))

    assert asked == ({"reasoning_effort": effort} if effort else {})


def test_what_only_a_template_knows_is_passed_on() -> None:
    asked = said(Chat(turns=HI, template_options={"documents": []}))

    assert asked == {"chat_template_kwargs": {"documents": []}}


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        (JsonObject(), {"type": "json_object"}),
        (
            JsonSchema(schema={"type": "array"}, name="list", strict=True),
            {
                "type": "json_schema",
                "json_schema": {"name": "list", "schema": {"type": "array"}, "strict": True},
            },
        ),
        (
            JsonSchema(schema={}),
            {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {}, "strict": False},
            },
        ),
    ],
)
def test_formats_that_upstreams_know(wanted: Format, asked: dict[str, Any]) -> None:
    assert said(format=wanted) == {"response_format": asked}


def test_what_they_do_not_know_is_refused_by_name() -> None:
    text = Text(text="x")

    assert "regular expression" in refused(format=Regex(pattern="a")).message
    assert "grammar" in refused(format=Grammar(source="a")).message
    assert refused(text, format=JsonObject()).param == "response_format"
    assert refused(text, logprobs=1).param == "logprobs"
    assert refused(sampling=Sampling(word_bias={"a": 1})).param == "logit_bias"


def test_the_most_tokens_have_the_name_that_the_upstream_knows() -> None:
    chat = body(generate(max_tokens=0), "m", "max_completion_tokens")[1]
    text = body(generate(Text(text="x"), max_tokens=5), "m", "max_completion_tokens")[1]

    assert chat["max_completion_tokens"] == 0
    assert "max_tokens" not in chat
    assert text["max_tokens"] == 5


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("top_k", {"sampling": Sampling(top_k=5)}),
        ("min_p", {"sampling": Sampling(min_p=0.1)}),
        ("repetition_penalty", {"sampling": Sampling(repetition_penalty=1.1)}),
        ("chat_template_kwargs", {"prompt": Chat(turns=HI, template_options={"a": 1})}),
    ],
)
def test_what_openai_does_not_know_is_refused_there_and_told_to_others(
    param: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(MeshError) as refused:
        body(generate(**asked), "m", "max_tokens", "openai")

    assert (refused.value.code, refused.value.param) == (Code.UNSUPPORTED_PARAMETER, param)
    assert param in body(generate(**asked), "m", "max_tokens")[1]


def test_openrouter_is_told_of_marks_and_given_its_thoughts_back() -> None:
    signed = Thought(text="Hm.", signature="s")
    turns = (
        Turn(role="system", content=(TextPart(text="a", cache="1h"),)),
        *HI,
        Turn(role="assistant", content="Ho", thoughts=(signed, Thought(text="?")), cache="5m"),
        *HI,
    )
    said = body(generate(Chat(turns=turns)), "m", "max_tokens", "openrouter")[1]["messages"]
    plain = body(generate(Chat(turns=turns)), "m", "max_tokens")[1]["messages"]

    detail = {
        "type": "reasoning.text", "text": "Hm.", "signature": "s",
        "format": "anthropic-claude-v1", "index": 0,
    }  # fmt: skip
    long, short = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
    assert said[0]["content"] == [{"type": "text", "text": "a", "cache_control": long}]
    assert said[2] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Ho", "cache_control": short}],
        "reasoning_details": [detail],
    }
    assert [message["content"] for message in plain] == ["a", "Hi", "Ho", "Hi"]


def test_what_another_vendor_sealed_goes_back_as_it_was_through_either_dialect() -> None:
    foreign = {
        "type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1", "id": "rs_1",
        "index": 3,
    }  # fmt: skip
    (thought,) = thoughts_of([foreign])
    block = {"type": "redacted_thinking", "data": thought.sealed}
    answer = {"role": "assistant", "content": [block, {"type": "text", "text": "Ho"}]}
    turns = [{"role": "user", "content": "Hi"}, answer, {"role": "user", "content": "Hi"}]
    said = {"model": "m", "max_tokens": 9, "messages": turns}
    asked = asked_messages(msgspec.json.encode(said)).generate(
        0, RequestId("r"), GatewayId("g"), None
    )

    told = body(asked, "m", "max_tokens", "openrouter")[1]["messages"][1]
    elsewhere = anthropic_body(asked, "m")["messages"][1]

    assert told["reasoning_details"] == [foreign]
    assert elsewhere["content"] == [{"type": "text", "text": "Ho"}]
