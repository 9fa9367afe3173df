import json
import re

import jsonschema
import pytest

from proto.format import JsonSchema, Regex
from proto.prompt import Chat, Thinking, Tool, ToolChoice, Turn
from services.runner.engine.calls.family import family_of
from services.runner.engine.loading import load
from tests.parrot import make_parrot
from tests.unit.engine.asking import receive
from tests.unit.engine.speaking import Heard, answer, markup

MARKERS = (
    "<|start|>",
    "<|end|>",
    "<|call|>",
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|return|>",
)
TEMPLATE = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
    "Reasoning: {{ reasoning_effort or 'medium' }}"
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ '<|start|>user<|message|><|say|>' + message.content + '<|said|><|end|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + message.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|answer|>' }}{% endif %}"
)
THOUGHT = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
SAID = "<|channel|>final<|message|>Yes."
CALL = '<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"at": "sun"}'
OTHER_CALL = ' to=functions.look<|channel|>commentary json<|message|>{"at": "sun"}'
LOOK = Tool(
    name="look",
    strict=True,
    parameters={
        "type": "object",
        "properties": {"at": {"enum": ["sun", "moon"]}},
        "required": ["at"],
        "additionalProperties": False,
    },
)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return load(str(make_parrot(home / "Gpt", TEMPLATE, MARKERS)), home, trusts_code=True)


@pytest.fixture
def hear(gpt, drive):
    def ask_for(text, chat=None, **rest):
        driver = drive(gpt)
        sequence = receive(gpt, "r", said(text, **(chat or {})), **{"max_tokens": 300, **rest})
        driver.run(sequence)
        return driver

    return ask_for


def said(text, **chat):
    from tests.parrot import script

    return Chat(turns=(Turn(role="user", content=script(text, MARKERS)),), **chat)


@pytest.mark.parametrize("cut", [list, lambda text: [text]])
def test_channels_and_recipients_are_told_apart(gpt, cut):
    marked, family = markup(gpt.tokenizer), family_of(gpt.tokenizer)
    chunks = cut(THOUGHT + "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant" + CALL)
    heard = Heard(answer(chunks, marked, "header", tools=(LOOK,), family=family), len(chunks))
    assert heard.all == ("Wait.", "hm", [("look", '{"at": "sun"}')], "tool_calls", "")


def test_a_model_with_channels_is_a_reasoner(gpt, hear):
    assert gpt.card.reasons
    heard = hear(THOUGHT + SAID)
    assert (heard.text("r"), heard.text("r", "reasoning")) == ("Yes.", "hm")
    assert heard.last("r").usage.reasoning_tokens == len(
        gpt.tokenizer.encode("<|channel|>analysis<|message|>hm<|end|>")
    )


@pytest.mark.parametrize("call", [CALL, OTHER_CALL])
@pytest.mark.parametrize("before", ["", THOUGHT])
def test_a_call_is_read_from_either_form(hear, call, before):
    for end in ("", "<|call|>"):
        loose = Tool(name="look", parameters=LOOK.parameters)
        heard = hear(before + call + end, {"tools": (loose,)})
        assert heard.calls("r") == [("look", '{"at": "sun"}')]
        assert heard.last("r").reason == "tool_calls"
        assert heard.text("r") == ""


def test_a_strict_tools_arguments_are_kept(hear):
    heard = hear(THOUGHT + CALL.replace("sun", "mars"), {"tools": (LOOK,)})
    ((name, arguments),) = heard.calls("r")
    assert name == "look"
    jsonschema.validate(json.loads(arguments), LOOK.parameters)


@pytest.mark.parametrize("spoken", [THOUGHT + SAID, SAID, CALL, "gibberish"])
def test_a_required_call_is_made(hear, spoken):
    required = ToolChoice(mode="required")
    heard = hear(spoken, {"tools": (LOOK,), "tool_choice": required})
    ((name, arguments),) = heard.calls("r")
    assert name == "look"
    jsonschema.validate(json.loads(arguments), LOOK.parameters)
    assert heard.last("r").reason == "tool_calls"
    assert heard.text("r", "reasoning") == ("hm" if spoken.startswith(THOUGHT) else "")


@pytest.mark.parametrize("spoken", [THOUGHT + SAID, SAID, CALL, "gibberish"])
@pytest.mark.parametrize("wanted", [Regex(pattern="ok+"), JsonSchema(schema={"enum": ["a", 7]})])
def test_a_format_begins_in_the_final_channel(hear, spoken, wanted):
    heard = hear(spoken, format=wanted)
    if heard.last("r").reason == "stop":
        if isinstance(wanted, Regex):
            assert re.fullmatch(wanted.pattern, heard.text("r"))
        else:
            assert json.loads(heard.text("r")) in ("a", 7)
    else:
        assert isinstance(wanted, Regex)


def test_a_format_may_follow_what_the_client_began(gpt, drive):
    turns = (*said(SAID).turns, Turn(role="assistant", content="o"))
    sequence = receive(gpt, "r", Chat(turns=turns, continues_last=True), format=Regex(pattern="ok"))
    assert sequence.outline.state == "normal"
    driver = drive(gpt)
    driver.run(sequence)
    assert driver.text("r") == "k"


def test_without_thinking_the_analysis_is_ended_at_once(gpt, hear):
    heard = hear(THOUGHT + SAID, {"thinking": Thinking(enabled=False)})
    assert heard.text("r", "reasoning") == ""


@pytest.mark.parametrize(
    ("asked", "given"),
    [("minimal", "low"), ("medium", "medium"), ("xhigh", "high"), ("none", "low")],
)
def test_only_efforts_that_the_model_was_trained_on_are_named(gpt, asked, given):
    sequence = receive(gpt, "r", said("x", thinking=Thinking(effort=asked)))
    assert f"Reasoning: {given}" in gpt.tokenizer.decode(sequence.prompt)
