"""Canonical words as an upstream hears them."""

from typing import Any

import pytest

from proto.errors import Code, MeshError
from proto.ids import GatewayId, ModelId, RequestId
from proto.inference import (
    Chat,
    Format,
    Generate,
    Grammar,
    ImagePart,
    JsonObject,
    JsonSchema,
    Regex,
    Sampling,
    Text,
    TextPart,
    Thinking,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)
from services.cloud.openai_body import body

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
