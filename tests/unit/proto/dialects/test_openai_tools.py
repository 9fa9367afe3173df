import json

import pytest

from proto.dialects.openai import asked_chat
from proto.errors import MeshError
from proto.prompt import Tool, ToolChoice

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def ask(**fields):
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return asked_chat(json.dumps(said | fields).encode())


def read(**fields):
    return ask(**fields).prompts[0]


def refused(**fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        ask(**fields)
    return caught.value


def tool(name="f", **fields):
    return {"type": "function", "function": {"name": name, **fields}}


def test_a_tool_arrives_with_all_that_is_said_of_it():
    said = read(tools=[tool("get_weather", description="Now.", parameters=SCHEMA, strict=True)])

    assert said.tools == (
        Tool(name="get_weather", description="Now.", parameters=SCHEMA, strict=True),
    )
    assert said.tool_choice == ToolChoice()


@pytest.mark.parametrize("said", [{}, {"parameters": {}}, {"parameters": None, "strict": None}])
def test_a_tool_may_take_any_object(said):
    assert read(tools=[tool(**said)]).tools == (Tool(name="f"),)


def test_a_schema_that_leaves_its_type_open_is_that_of_an_object():
    parameters = read(tools=[tool(parameters={"properties": {}})]).tools[0].parameters

    assert parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "canonical"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        (tool("g"), ToolChoice(mode="required", allowed=("g",), parallel=False)),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}},
            ToolChoice(allowed=("g",)),
        ),
        (
            {
                "allowed_tools": {"tools": [tool("g"), tool("f")], "mode": "required"},
                "type": "allowed_tools",
            },
            ToolChoice(mode="required", allowed=("g", "f")),
        ),
    ],
)
def test_choices_are_read_in_every_form(choice, canonical):
    assert read(tools=[tool("f"), tool("g")], tool_choice=choice).tool_choice == canonical


def test_calls_may_be_held_to_one_at_a_time():
    assert not read(tools=[tool()], parallel_tool_calls=False).tool_choice.parallel
    assert read(tools=[tool()], parallel_tool_calls=True).tool_choice.parallel


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("x" * 65)]}, "tools[0].function.name"),
        ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool(parameters={"type": "array"})]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"type": None})]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters="x")]}, "tools[0].function.parameters"),
        ({"tools": [tool(color="red")]}, "tools[0].function.color"),
        ({"tools": [tool()], "tool_choice": tool("g")}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": tool()}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"function_call": "auto", "tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1].name"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
    ],
)
def test_tools_that_make_no_sense_are_refused_by_place(fields, place):
    error = refused(**fields)

    assert error.param == place
    assert place in error.message


def test_functions_are_tools_of_which_one_is_called_at_most():
    asked = ask(functions=[{"name": "f", "parameters": SCHEMA}])

    assert asked.prompts[0].tools == (Tool(name="f", parameters=SCHEMA),)
    assert asked.prompts[0].tool_choice == ToolChoice(parallel=False)
    assert asked.calls_functions


@pytest.mark.parametrize(
    ("called", "mode", "allowed"),
    [("none", "none", ()), ("auto", "auto", ()), ({"name": "f"}, "required", ("f",))],
)
def test_the_older_form_of_a_choice(called, mode, allowed):
    choice = read(functions=[{"name": "f"}], function_call=called).tool_choice

    assert choice == ToolChoice(mode=mode, allowed=allowed, parallel=False)


def test_tools_win_over_their_older_form():
    asked = ask(tools=[tool("g")], functions=[{"name": "f"}], function_call="none")

    assert [each.name for each in asked.prompts[0].tools] == ["g"]
    assert asked.prompts[0].tool_choice == ToolChoice()
    assert asked.ignored == ("functions", "function_call")
    assert not asked.calls_functions
