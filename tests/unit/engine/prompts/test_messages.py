"""What chat templates are given. Those here write it down as JSON."""

import dataclasses
import json

import pytest
from mlx_lm.tokenizer_utils import load as load_tokenizer

from proto.errors import Code, MeshError
from proto.prompt import Chat, Tool, ToolCall, ToolChoice, Turn
from services.runner.engine.prompts.prompt import rendered, tokens_of
from tests.tiny import TEMPLATE, make_tiny

JSON = "<tool_call>{# tool_call.name #}"
DUMP = '{{ {"messages": messages, "tools": tools, "mood": mood or none} | tojson }}{# tool_calls #}'
WEATHER = Tool(
    name="weather",
    description="The weather.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Köln"}')
TURNS = (
    Turn(role="user", content="Weather?"),
    Turn(role="assistant", reasoning="I look.", calls=(CALL,)),
    Turn(role="tool", call_id="call_1", content="12 degrees"),
)


@pytest.fixture
def using(tiny, tmp_path):
    """``using(template)``: the tiny model with another chat template."""

    def make(template):
        folder = make_tiny(tmp_path / str(abs(hash(template))), template=template)
        return dataclasses.replace(tiny, tokenizer=load_tokenizer(folder))

    return make


@pytest.fixture
def given(using):
    """``given(chat)``: the messages, tools and variables that a template got."""

    def dump(chat, marks=JSON, **arguments):
        text = rendered(chat, using(marks + DUMP), arguments)
        return json.loads(text.removeprefix(marks.partition("{#")[0]))

    return dump


def refusal(chat, model):
    with pytest.raises(MeshError) as refused:
        rendered(chat, model)
    assert refused.value.code is Code.INVALID_REQUEST
    return refused.value.message


def test_calls_and_results_are_given_as_templates_want_them(given):
    messages = given(Chat(turns=TURNS, tools=(WEATHER,)))["messages"]
    assert messages == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I look.",
            "thinking": "I look.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"city": "Köln"}},
                }
            ],
        },
        {"role": "tool", "content": "12 degrees", "tool_call_id": "call_1", "name": "weather"},
    ]


def test_tools_are_given_in_openais_form_unless_none_may_be_called(given):
    chat = Chat(turns=TURNS[:1], tools=(WEATHER, Tool(name="now")))
    tools = given(chat)["tools"]
    assert [tool["type"] for tool in tools] == ["function"] * 2
    assert tools[0]["function"]["parameters"] == WEATHER.parameters
    assert tools[1]["function"]["parameters"] == {"type": "object", "properties": {}}
    none = Chat(turns=TURNS[:1], tools=(WEATHER,), tool_choice=ToolChoice(mode="none"))
    assert given(none)["tools"] is None
    assert given(Chat(turns=TURNS[:1]))["tools"] is None


def test_the_engines_word_counts_more_than_the_clients(given):
    chat = Chat(turns=TURNS[:1], template_options={"mood": "sad"})
    assert given(chat)["mood"] == "sad"
    assert given(chat, mood="glad")["mood"] == "glad"


def test_arguments_that_are_no_object_are_given_as_they_are(given):
    cut = Turn(role="assistant", calls=(ToolCall(id="1", name="weather", arguments='{"ci'),))
    (message,) = given(Chat(turns=(cut,)))["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"ci'
    empty = Turn(role="assistant", calls=(ToolCall(id="1", name="weather", arguments=""),))
    (message,) = given(Chat(turns=(empty,)))["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] == {}


def test_a_failed_tool_says_so(given):
    failed = Turn(role="tool", call_id="call_1", content="no such city", is_error=True)
    assert given(Chat(turns=(*TURNS[:2], failed)))["messages"][-1]["content"] == (
        "The tool failed:\nno such city"
    )


def test_ids_are_told_as_the_family_has_them(given):
    messages = given(Chat(turns=TURNS), "[TOOL_CALLS]{# #}")["messages"]
    id = messages[1]["tool_calls"][0]["id"]
    assert len(id) == 9
    assert id.isalnum()
    assert messages[2]["tool_call_id"] == id


def test_a_template_that_writes_no_calls_gets_them_in_the_content(using):
    marks = "<|tool_call_start|>{# tools #}"
    model = using(marks + "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}")
    assert rendered(Chat(turns=TURNS), model).removeprefix("<|tool_call_start|>") == (
        "[user: Weather?]"
        '[assistant: <|tool_call_start|>[weather(city="Köln")]<|tool_call_end|>]'
        "[tool: 12 degrees]"
    )


def test_a_model_whose_template_knows_no_tools_is_told_of_them(tiny):
    turns = (Turn(role="system", content="Be brief."), *TURNS)
    other = ToolCall(id="2", name="now", arguments="{}")
    turns = (
        *turns,
        Turn(role="assistant", content="And now", calls=(CALL, other)),
        Turn(role="tool", call_id="call_1", content="13 degrees"),
        Turn(role="tool", call_id="2", content="noon", is_error=True),
    )
    text = rendered(Chat(turns=turns, tools=(WEATHER,)), tiny)
    system, _, rest = text.partition("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n\n")
    assert '\n{"name": "weather", "description": "The weather.", "parameters": {' in system
    assert "several calls" in system
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
    assert rest == (
        "<|im_start|>user\nWeather?<|im_end|>\n"
        f"<|im_start|>assistant\n{call}<|im_end|>\n"
        '<|im_start|>user\n<tool_response name="weather">\n12 degrees\n</tool_response><|im_end|>\n'
        f"<|im_start|>assistant\nAnd now\n{call}\n"
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response name="weather">\n13 degrees\n</tool_response>\n'
        '<tool_response name="now">\nThe tool failed:\nnoon\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_without_a_system_turn_the_tools_make_one(tiny):
    single = ToolChoice(parallel=False)
    text = rendered(Chat(turns=TURNS[:1], tools=(WEATHER,), tool_choice=single), tiny)
    assert text.startswith("<|im_start|>system\n# Tools")
    assert "only one call" in text
    assert "# Tools" not in rendered(Chat(turns=TURNS[:1]), tiny)


def test_the_tokens_are_those_of_the_text(tiny):
    chat = Chat(turns=TURNS, tools=(WEATHER,))
    assert tiny.tokenizer.decode(tokens_of(chat, tiny)) == rendered(chat, tiny)


SAID = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"
ALTERNATING = (
    "{% for m in messages %}{% if not loop.first and m.role == loop.previtem.role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + SAID
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}" + ALTERNATING
)
LED = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('the system must begin') }}{% endif %}{% endfor %}" + SAID
)


@pytest.mark.parametrize(
    ("template", "roles", "text"),
    [
        (ALTERNATING, ("user", "user", "assistant"), "[user: 0\n\n1][assistant: 2]"),
        (ALTERNATING, ("user", "assistant", "assistant"), "[user: 0][assistant: 1\n\n2]"),
        (NO_SYSTEM, ("system", "user", "assistant"), "[user: 0\n\n1][assistant: 2]"),
        (NO_SYSTEM, ("system", "assistant"), "[user: 0][assistant: 1]"),
        (LED, ("system", "user", "system", "user"), "[system: 0][user: 1\n\n2\n\n3]"),
    ],
)  # fmt: skip
def test_what_a_template_rejects_is_said_in_another_form(using, template, roles, text):
    turns = tuple(Turn(role=role, content=str(at)) for at, role in enumerate(roles))
    assert rendered(Chat(turns=turns), using(template)) == text


NATIVE = "<tool_call>{# tool_call.name tools tool_calls #}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{% for m in messages %}{% if not loop.first and loop.previtem.role == 'tool'"
            " and m.role == 'user' %}{{ raise_exception('no answer') }}{% endif %}{% endfor %}",
            "[user: Weather?][assistant: ][tool: 12 degrees\n\nThanks]",
        ),
        (
            "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('tool?') }}"
            "{% endif %}{% endfor %}",
            "[user: Weather?][assistant: ][user: 12 degrees\n\nThanks]",
        ),
        (
            "{% for m in messages %}{% if m.tool_calls and m.reasoning_content %}"
            "{{ raise_exception('both') }}{% endif %}{% endfor %}",
            "[user: Weather?][assistant: ][tool: 12 degrees][user: Thanks]",
        ),
    ],
)
def test_results_and_calls_are_too(using, template, text):
    turns = (*TURNS, Turn(role="user", content="Thanks"))
    chat = Chat(turns=turns, tools=(WEATHER,))
    assert rendered(chat, using(NATIVE + template + SAID)).removeprefix("<tool_call>") == text


def test_a_template_that_wants_an_object_of_arguments_gets_one(using):
    template = NATIVE + "{% for k, v in messages[0].tool_calls[0].function.arguments.items() %}"
    cut = Turn(role="assistant", calls=(ToolCall(id="1", name="weather", arguments='{"ci'),))
    text = rendered(Chat(turns=(cut,)), using(template + "{{ k }}={{ v }}{% endfor %}"))
    assert text == '<tool_call>unreadable={"ci'


def test_a_template_that_wants_types_gets_them(using):
    template = NATIVE + "{% for t in tools %}{{ t.function.parameters.properties.a.type + '!' }}"
    untyped = Tool(name="f", parameters={"properties": {"a": {"anyOf": [{"type": "integer"}]}}})
    text = rendered(Chat(turns=TURNS[:1], tools=(untyped,)), using(template + "{% endfor %}"))
    assert text == "<tool_call>integer!"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('never') }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ messages.nothing.at_all }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_takes_nothing_is_a_refusal(using, template):
    assert "rejects this conversation" in refusal(Chat(turns=TURNS), using(template))


def test_the_first_rejection_is_the_one_that_is_told(using):
    template = "{{ raise_exception('turn ' ~ messages[0].content) }}"
    turns = (Turn(role="user", content="a"), Turn(role="user", content="b"))
    assert refusal(Chat(turns=turns), using(template)).endswith("turn a")


def test_the_template_of_the_tests_knows_no_tools():
    assert "tools" not in TEMPLATE
