"""What clients send to /v1/responses: what it means, and what is refused by name."""

import json
from typing import Any

import pytest

from proto.dialects.asked import Asked
from proto.dialects.responses.item import received
from proto.dialects.responses.reasoning import sealed, unsealed
from proto.dialects.responses.request import create_request
from proto.errors import MeshError
from proto.format import JsonObject
from proto.ids import ModelId
from proto.prompt import ImagePart, TextPart, Thinking, ToolChoice, Turn

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "1", "output": "done"}


def asked(**body: Any) -> Asked:
    request = create_request(json.dumps(body).encode())
    items: Any = received(request.input).items
    return request.asked(ModelId("m"), items, request.offered())


def turns(*items: Any, **body: Any) -> tuple[Turn, ...]:
    prompt: Any = asked(input=list(items), **body).prompts[0]
    found: tuple[Turn, ...] = prompt.turns
    return found


def refused(**body: Any) -> MeshError:
    with pytest.raises(MeshError) as error:
        asked(**body)
    return error.value


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def test_what_stands_above_a_conversation_is_one_message():
    developer = {"role": "developer", "content": "Rules."}
    system = {"type": "message", "role": "system", "content": "More."}

    assert turns(developer, system, user(), instructions="Be brief.")[0] == Turn(
        role="system", content="Be brief.\n\nRules.\n\nMore."
    )


def test_messages_of_one_voice_are_one_turn():
    text = {"type": "input_text", "text": "b"}

    assert turns({"role": "user", "content": "a"}, user(text)) == (
        Turn(role="user", content="a\n\nb"),
    )


def test_thinking_words_and_calls_of_one_answer_are_one_turn():
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "text", "text": "Hm"}]}
    words = {"role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]}
    again = CALL | {"call_id": "2"}

    answer, first, second, after = turns(
        user(), thought, words, CALL, again, OUTPUT, OUTPUT | {"call_id": "2"}, thought
    )[1:]
    assert (answer.reasoning, answer.content) == ("Hm", "Wait.")
    assert [call.id for call in answer.calls] == ["1", "2"]
    assert (first.call_id, first.name, second.call_id) == ("1", "f", "2")
    assert (after.role, after.reasoning) == ("assistant", "Hm")


def test_a_refusal_is_what_the_assistant_said():
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}

    assert turns(user(), said)[1].content == "No."


def test_pictures_stand_between_the_words():
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    (turn,) = turns(user({"type": "input_text", "text": "Look:"}, picture))

    assert turn.content == (TextPart(text="Look:"), ImagePart(url="data:image/png;base64,AA"))


def test_sealed_text_is_ours_alone():
    assert unsealed(sealed("Größe")) == "Größe"
    assert unsealed("gAAAA-of-somebody-else") is None
    assert unsealed("odyssai1-%%%") is None


def test_a_compaction_stands_for_what_it_sums_up():
    item = {"type": "compaction", "encrypted_content": sealed("They met.")}

    assert turns(item, user())[0].content.endswith("They met.\n\n")
    assert "elsewhere" in refused(input=[item | {"encrypted_content": "x"}]).message


def test_what_has_no_effect_is_named():
    wanted = asked(
        input="Hi",
        text={"verbosity": "low"},
        stream_options={"include_obfuscation": True},
        prompt_cache_retention="24h",
    )

    assert wanted.ignored == (
        "text.verbosity",
        "stream_options.include_obfuscation",
        "prompt_cache_retention",
    )
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
    known = received([search, {"role": "user", "content": "Hi", "novelty": 1}])
    assert known.ignored == ("input.web_search_call", "input.novelty")
    assert len(known.items) == 1


def test_tools_that_agents_send_unasked_are_left_out():
    body = {"tools": [{"type": "web_search", "external_web_access": False}, FUNCTION]}
    offered = create_request(json.dumps(body).encode()).offered()

    assert [tool.name for tool in offered.tools] == ["f"]
    assert offered.ignored == ("tools.web_search",)


def test_a_grammar_is_told_where_it_cannot_be_enforced():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    pattern = {"type": "grammar", "syntax": "regex", "definition": "a|b"}
    tools = [
        {"type": "custom", "name": "told", "format": grammar},
        {"type": "custom", "name": "kept", "format": pattern},
    ]
    offered = create_request(json.dumps({"tools": tools}).encode()).offered()

    told, kept = offered.tools
    assert "start: WORD" in told.description
    assert kept.parameters["properties"]["input"]["pattern"] == "^(?:a|b)$"
    assert offered.ignored == ("tools.format",)


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("none", ToolChoice(mode="none")),
        (
            {"type": "function", "name": "f"},
            ToolChoice(mode="required", allowed=("f",), parallel=False),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(mode="auto", allowed=("f",)),
        ),
    ],
)
def test_a_choice_of_tools(choice: Any, meant: ToolChoice):
    prompt: Any = asked(tools=[FUNCTION], tool_choice=choice).prompts[0]

    assert prompt.tool_choice == meant


@pytest.mark.parametrize(
    ("effort", "meant"),
    [
        ("none", Thinking(enabled=False, effort="none")),
        ("max", Thinking(effort="xhigh")),
        (None, Thinking()),
    ],
)
def test_an_effort(effort: str | None, meant: Thinking):
    prompt: Any = asked(reasoning={"effort": effort}).prompts[0]

    assert prompt.thinking == meant


def test_a_format():
    assert asked(text={"format": {"type": "json_object"}}).format == JsonObject()
    assert asked(text={"format": {"type": "text"}}).format is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 3}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "nobody", "content": ""}]}, "input[0].role"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [user({"type": "input_file", "file_id": "x"})]}, "input[0].content[0]"),
        (
            {"input": [user({"type": "input_image", "file_id": "x"})]},
            "input[0].content[0].image_url",
        ),
        ({"input": [user({"type": "input_audio"})]}, "input[0].content[0].type"),
        ({"input": [OUTPUT]}, "input"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tools": [FUNCTION | {"color": 1}]}, "tools[0].color"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"include": ["everything"]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"background": True, "store": False}, "store"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_makes_no_sense_or_cannot_be_is_refused_by_name(body: Any, param: str):
    error = refused(**body)

    assert error.code.status in (400, 404)
    assert (error.param or "").startswith(param)
    assert error.message
