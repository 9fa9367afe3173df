"""Tools that Anthropic's clients offer, and what the model may do with them."""

import json

import pytest

from proto.dialects.anthropic import asked_messages
from proto.errors import Code, MeshError
from proto.prompt import Tool, ToolChoice

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = {"name": "look", "description": "Look somewhere.", "input_schema": SCHEMA}


def chat(*tools, **fields):
    said = [{"role": "user", "content": "Hi"}]
    body = {"model": "m", "max_tokens": 9, "messages": said, "tools": list(tools)} | fields
    return asked_messages(json.dumps(body).encode()).prompts[0]


def tools(*offered):
    return chat(*offered).tools


def refused(*offered, **fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        chat(*offered, **fields)
    return caught.value


def test_a_function_arrives_as_it_is_described():
    markers = {
        "type": "custom",
        "strict": True,
        "cache_control": {"type": "ephemeral", "scope": "global"},
        "eager_input_streaming": True,
        "allowed_callers": ["direct", "code_execution_20250825"],
    }

    assert tools(LOOK | markers) == (
        Tool(
            name="look",
            description="Look somewhere.",
            parameters=SCHEMA,
            strict=True,
            cache="5m",
        ),
    )
    assert tools(LOOK | {"type": None}) == tools(LOOK)


def test_examples_of_its_input_are_part_of_the_description():
    (tool,) = tools(LOOK | {"input_examples": [{"at": "sea"}, {"at": "sky"}]})

    assert tool.description.startswith("Look somewhere.")
    assert tool.description.endswith('{"at":"sea"}\n{"at":"sky"}')


@pytest.mark.parametrize(
    ("kind", "name", "more", "known"),
    [
        ("bash_20250124", "bash", {}, {"command", "restart"}),
        (
            "text_editor_20250124",
            "str_replace_editor",
            {},
            {"command", "path", "old_str", "new_str", "file_text", "insert_line", "view_range"},
        ),
        (
            "text_editor_20250728",
            "str_replace_based_edit_tool",
            {"max_characters": 10_000},
            {"command", "path", "old_str", "new_str", "insert_text", "insert_line"},
        ),
        ("memory_20250818", "memory", {}, {"command", "path", "old_path", "new_path"}),
        (
            "computer_20250124",
            "computer",
            {"display_width_px": 1024, "display_height_px": 768, "display_number": 1},
            {"action", "coordinate", "text", "scroll_direction", "duration"},
        ),
    ],
)
def test_a_tool_of_the_vendors_that_the_client_runs_is_a_function(kind, name, more, known):
    (tool,) = tools({"type": kind, "name": name, "cache_control": None} | more)

    assert tool.name == name
    assert tool.description
    assert tool.parameters["type"] == "object"
    assert known <= set(tool.parameters["properties"])
    assert set(tool.parameters["required"]) <= set(tool.parameters["properties"])


def test_versions_of_a_tool_know_their_own_commands():
    def commands(kind):
        (tool,) = tools({"type": kind, "name": "edit"})
        return tool.parameters["properties"]["command"]["enum"]

    assert "undo_edit" in commands("text_editor_20250124")
    assert "undo_edit" not in commands("text_editor_20250728")


def test_a_screen_is_as_large_as_the_client_says():
    screen = {"display_width_px": 1024, "display_height_px": 768}
    zooms = {"type": "computer_20251124", "name": "computer", "enable_zoom": True}
    (tool,) = tools(zooms | screen)

    assert "1024 x 768" in tool.description
    assert "zoom" in tool.parameters["properties"]["action"]["enum"]
    assert refused(zooms).param == "tools[0].display_width_px"


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250825",
        "tool_search_tool_regex_20251119",
        "mcp_toolset",
        "computer_toolset_20260801",
        "bash_20990101",
    ],
)
def test_a_tool_that_cannot_be_had_is_refused_by_its_type(kind):
    error = refused(LOOK, {"type": kind, "name": "x", "max_uses": 5})

    assert (error.code, error.param) == (Code.UNSUPPORTED_PARAMETER, "tools[1].type")
    assert kind in error.message


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"name": "f"}, "tools[0].input_schema"),
        ({"input_schema": {}}, "tools[0].name"),
        (LOOK | {"name": "two words"}, "tools[0].name"),
        (LOOK | {"input_schema": {"type": "string"}}, "tools[0].input_schema.type"),
        (LOOK | {"input_schema": "x"}, "tools[0].input_schema"),
        (LOOK | {"colour": "blue"}, "tools[0].colour"),
        (LOOK | {"type": 5}, "tools[0].type"),
        (LOOK | {"allowed_callers": ["code_execution_20250825"]}, "tools[0].allowed_callers"),
        ("look", "tools[0]"),
    ],
)
def test_nonsense_is_refused_where_it_stands(tool, param):
    error = refused(tool)

    assert error.param == param
    assert param in error.message


def test_two_tools_of_one_name_are_refused():
    assert refused(LOOK, LOOK).param == "tools"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(mode="required")),
        ({"type": "none"}, ToolChoice(mode="none")),
        (
            {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
            ToolChoice(mode="required", allowed=("look",), parallel=False),
        ),
    ],
)
def test_the_choice_arrives(choice, expected):
    assert chat(LOOK, tool_choice=choice).tool_choice == expected


def test_a_choice_of_what_is_not_offered_is_refused():
    assert refused(LOOK, tool_choice={"type": "tool", "name": "hear"}).param == "tool_choice.name"
    assert refused(tool_choice={"type": "any"}).param == "tool_choice"
