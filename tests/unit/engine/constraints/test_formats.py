import json
import re

import jsonschema
import pytest

from proto.errors import Code, MeshError
from proto.format import Grammar, JsonObject, JsonSchema, Regex
from proto.frames import End, Failed
from proto.generation import Sampling
from proto.prompt import Chat, Text, Thinking, Tool, ToolChoice, Turn
from services.runner.engine.constraints.guide import Guide
from tests.unit.engine.asking import ask, prompt, receive, reception, saying

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "mail": {"type": ["string", "null"], "maxLength": 6},
    },
    "required": ["name", "age", "tags", "mail"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "boolean"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
HI = Chat(turns=(Turn(role="user", content="Hi"),))
FOLLOWED = r"[a-c]{2,6}(-[0-9]+)?"
LOOK = Tool(
    name="look",
    strict=True,
    parameters={
        "type": "object",
        "properties": {"at": {"enum": ["sun", "moon"]}, "times": {"type": "integer", "maximum": 9}},
        "required": ["at", "times"],
        "additionalProperties": False,
    },
)
NOD = Tool(name="nod", parameters={"type": "object", "properties": {}})


def hot(seed):
    return Sampling(temperature=1.0, seed=seed)


def hear(model, drive, *requests):
    driver = drive(model)
    driver.run(*requests)
    return driver


def with_tools(*tools, **choice):
    return Chat(turns=HI.turns, tools=tools, tool_choice=ToolChoice(**choice))


def refusal(model, *, prompt=HI, **rest):
    with pytest.raises(MeshError) as refused:
        receive(model, "r", prompt, **rest)
    assert refused.value.code.status == 400
    return refused.value


@pytest.mark.parametrize("schema", [PERSON, TREE])
def test_an_answer_in_a_schema_validates_or_was_cut_off(tiny, drive, schema):
    asked = [
        receive(
            tiny, f"r{s}", HI, format=JsonSchema(schema=schema), max_tokens=150, sampling=hot(s)
        )
        for s in range(24)
    ]
    driver = hear(tiny, drive, *asked)
    reasons = []
    for sequence in asked:
        reasons.append(driver.last(sequence.request).reason)
        if reasons[-1] == "stop":
            jsonschema.validate(json.loads(driver.text(sequence.request)), schema)
    assert reasons.count("stop") >= 12


def test_any_object_is_an_object(tiny, drive):
    asked = [
        receive(tiny, f"r{s}", HI, format=JsonObject(), max_tokens=200, sampling=hot(s))
        for s in range(12)
    ]
    driver = hear(tiny, drive, *asked)
    whole = [s.request for s in asked if driver.last(s.request).reason == "stop"]
    assert whole
    assert all(isinstance(json.loads(driver.text(request)), dict) for request in whole)


@pytest.mark.parametrize("where", [HI, Text(text="abc")])
def test_an_answer_matches_its_expression_from_end_to_end(tiny, drive, where):
    asked = [
        receive(
            tiny, f"r{s}", where, format=Regex(pattern=FOLLOWED), max_tokens=60, sampling=hot(s)
        )
        for s in range(12)
    ]
    driver = hear(tiny, drive, *asked)
    whole = [s.request for s in asked if driver.last(s.request).reason == "stop"]
    assert whole
    assert all(re.fullmatch(FOLLOWED, driver.text(request)) for request in whole)


@pytest.mark.parametrize(
    "source",
    ['start: "yes" | "no" " " NUMBER\nNUMBER: /[0-9]{3}/', 'root ::= "yes" | "no " [0-9]{3}'],
    ids=["lark", "gbnf"],
)
def test_an_answer_is_of_its_grammar(tiny, drive, source):
    asked = [
        receive(tiny, f"r{s}", HI, format=Grammar(source=source), max_tokens=20, sampling=hot(s))
        for s in range(8)
    ]
    driver = hear(tiny, drive, *asked)
    for sequence in asked:
        assert driver.last(sequence.request).reason == "stop"
        assert re.fullmatch("yes|no [0-9]{3}", driver.text(sequence.request))


def test_an_answer_that_is_cut_off_says_so(tiny, drive):
    driver = hear(
        tiny, drive, receive(tiny, "r", HI, format=JsonSchema(schema=PERSON), max_tokens=5)
    )
    assert driver.last("r").reason == "length"


def test_a_free_streams_tokens_are_the_same_beside_constrained_ones(tiny, drive):
    alone = hear(tiny, drive, ask("free", prompt(30, 5), 60))
    beside = hear(
        tiny,
        drive,
        *(
            receive(
                tiny, f"r{s}", HI, format=JsonSchema(schema=PERSON), sampling=hot(s), max_tokens=50
            )
            for s in range(3)
        ),
        ask("free", prompt(30, 5), 60),
        receive(tiny, "g", HI, format=JsonSchema(schema=PERSON), max_tokens=50),
    )
    assert beside.tokens("free") == alone.tokens("free")


def test_penalties_and_biases_never_break_a_format(tiny, drive):
    strange = Sampling(
        temperature=0,
        repetition_penalty=3.0,
        presence_penalty=2.0,
        frequency_penalty=2.0,
        logit_bias=dict.fromkeys(range(200, 300), 100.0),
    )
    schema = {"type": "array", "items": {"type": "integer"}, "maxItems": 4}
    driver = hear(
        tiny,
        drive,
        receive(tiny, "r", HI, format=JsonSchema(schema=schema), sampling=strange, max_tokens=400),
    )
    assert driver.last("r").reason == "stop"
    jsonschema.validate(json.loads(driver.text("r")), schema)


def test_alternatives_that_the_format_forbids_are_no_alternatives(tiny, drive):
    driver = hear(tiny, drive, receive(tiny, "r", HI, format=Regex(pattern="a{9}"), logprobs=20))
    tops = [top for d in driver.deltas("r") for p in d.logprobs for top in p.top]
    assert tops
    assert all(top.logprob > -1e9 for top in tops)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "if": {}, "then": {}}, "'if', 'then'"),
        ({"type": "string", "format": "frob"}, "frob"),
        ({"type": "frob"}, "frob"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ],
)
def test_what_a_schema_says_that_cannot_be_enforced_is_named(tiny, schema, named):
    refused = refusal(tiny, format=JsonSchema(schema=schema))
    assert named in refused.message
    assert refused.param == "response_format"
    assert "\n" not in refused.message


def test_expressions_and_grammars_that_are_wrong_are_refused(tiny):
    assert "unclosed group" in refusal(tiny, format=Regex(pattern="(a")).message
    assert "foo" in refusal(tiny, format=Grammar(source="start: foo")).message
    assert refusal(tiny, format=Grammar(source="root ::= (")).code is Code.UNSUPPORTED_PARAMETER
    assert refusal(tiny, format=Grammar(source="")).param == "response_format"


def test_a_prefill_counts_as_the_formats_beginning(tiny, drive):
    turns = (*HI.turns, Turn(role="assistant", content='{"value": true, '))
    asked = receive(
        tiny,
        "r",
        Chat(turns=turns, continues_last=True),
        format=JsonSchema(schema=TREE),
        max_tokens=300,
    )
    driver = hear(tiny, drive, asked)
    if driver.last("r").reason == "stop":
        jsonschema.validate(json.loads(turns[-1].content + driver.text("r")), TREE)
    assert driver.text("r").lstrip().startswith('"next"')


# With reasoning


def test_the_format_begins_after_the_thinking(parrot, drive):
    schema = {"enum": ["no", "yes"]}
    said = '<think>{hm} "</think>"yes"'
    driver = hear(
        parrot, drive, receive(parrot, "r", saying(said), format=JsonSchema(schema=schema))
    )
    assert driver.text("r", "reasoning") == '{hm} "'
    assert json.loads(driver.text("r")) in schema["enum"]
    assert driver.last("r").usage.reasoning_tokens > 2


def test_a_reasoner_cannot_end_its_turn_before_the_format_is_met(parrot, drive):
    asked = saying("<think>hm")
    driver = hear(
        parrot, drive, receive(parrot, "r", asked, format=Regex(pattern="ok"), max_tokens=50)
    )
    assert driver.last("r").reason == "length"  # It thinks on; nothing that is no format came out.
    assert driver.text("r") == ""
    budgeted = saying("<think>hm", thinking=Thinking(budget_tokens=9))
    driver = hear(
        parrot, drive, receive(parrot, "r", budgeted, format=Regex(pattern="ok"), max_tokens=50)
    )
    assert (driver.text("r"), driver.last("r").reason) == ("ok", "stop")


def test_without_thinking_a_reasoner_begins_with_the_format(parrot, drive):
    asked = saying("<think>hm</think>ok", thinking=Thinking(enabled=False))
    driver = hear(parrot, drive, receive(parrot, "r", asked, format=Regex(pattern="ok")))
    assert (driver.text("r"), driver.text("r", "reasoning")) == ("ok", "")


def test_random_reasoners_keep_their_formats(thinker, drive):
    asked = [
        receive(
            thinker,
            f"r{s}",
            Chat(turns=HI.turns, thinking=Thinking(budget_tokens=10)),
            format=JsonSchema(schema=PERSON),
            max_tokens=300,
            sampling=hot(s),
        )
        for s in range(16)
    ]
    driver = hear(thinker, drive, *asked)
    whole = [s.request for s in asked if driver.last(s.request).reason == "stop"]
    assert len(whole) >= 8
    for request in whole:
        jsonschema.validate(json.loads(driver.text(request)), PERSON)


# With tools


def validated(driver, request, tools):
    for name, arguments in driver.calls(request):
        tool = next(tool for tool in tools if tool.name == name)
        jsonschema.validate(json.loads(arguments), tool.parameters)
    return driver.calls(request)


@pytest.mark.parametrize("is_parallel", [True, False])
def test_a_required_call_is_made_and_valid(thinker, drive, is_parallel):
    tools = (LOOK, NOD)
    prompt = with_tools(*tools, mode="required", parallel=is_parallel)
    wild = [Sampling(temperature=5.0, seed=seed) for seed in range(12)]
    asked = [
        receive(thinker, f"r{sampling.seed}", prompt, max_tokens=400, sampling=sampling)
        for sampling in wild
    ]
    driver = hear(thinker, drive, *asked)
    called = set()
    for sequence in asked:
        end = driver.last(sequence.request)
        assert end.reason in ("tool_calls", "length")
        if end.reason == "tool_calls":
            calls = validated(driver, sequence.request, tools)
            assert calls
            assert is_parallel or len(calls) == 1
            called |= {name for name, _ in calls}
        assert driver.text(sequence.request) == ""
    assert called == {"look", "nod"}


def test_a_named_tool_is_the_one_that_is_called(thinker, drive):
    prompt = with_tools(LOOK, NOD, mode="required", allowed=("look",), parallel=False)
    asked = [receive(thinker, f"r{s}", prompt, max_tokens=300, sampling=hot(s)) for s in range(6)]
    driver = hear(thinker, drive, *asked)
    names = {name for s in asked for name, _ in driver.calls(s.request)}
    assert names == {"look"}


def test_a_model_without_markers_of_its_own_can_be_made_to_call(tiny, drive):
    prompt = with_tools(LOOK, mode="required", parallel=False)
    driver = hear(tiny, drive, receive(tiny, "r", prompt, max_tokens=300))
    assert driver.last("r").reason == "tool_calls"
    assert len(validated(driver, "r", (LOOK,))) == 1


def test_a_call_that_is_cut_off_is_reported(parrot, drive):
    said = '<tool_call>\n{"name": "look", "arguments": {"at": "sun", "times": 3}}\n</tool_call>'
    asked = Chat(turns=saying(said).turns, tools=(LOOK,))
    whole = hear(parrot, drive, receive(parrot, "r", asked))
    assert whole.calls("r") == [("look", '{"at": "sun", "times": 3}')]
    assert whole.last("r").reason == "tool_calls"
    length = whole.last("r").usage.completion_tokens
    cut = hear(parrot, drive, receive(parrot, "r", asked, max_tokens=length - 15))
    assert cut.last("r").reason == "length"
    ((name, arguments),) = cut.calls("r")
    assert name == "look"
    assert arguments
    assert '{"at": "sun", "times": 3}'.startswith(arguments)


def test_arguments_of_a_strict_tool_follow_its_schema_however_they_begin(parrot, drive):
    said = 'Well.<tool_call>\n{"name": "look", "arguments": {"at": "mars", "x": 1}}\n</tool_call>'
    asked = Chat(turns=saying(said).turns, tools=(LOOK,), tool_choice=ToolChoice(parallel=False))
    driver = hear(parrot, drive, receive(parrot, "r", asked, max_tokens=200))
    assert driver.text("r") == "Well."
    assert len(validated(driver, "r", (LOOK,))) == 1


def test_tools_that_are_not_strict_leave_the_model_alone(parrot):
    assert receive(parrot, "r", Chat(turns=HI.turns, tools=(NOD,))).outline.rules is None


def test_with_a_format_and_tools_there_is_one_or_the_other(parrot, thinker, drive):
    call = '<tool_call>\n{"name": "nod", "arguments": {}}\n</tool_call>'
    for said in ("ok", call, f"<think>hm</think>{call}", "<think>hm</think>ok"):
        asked = Chat(turns=saying(said).turns, tools=(NOD,))
        driver = hear(parrot, drive, receive(parrot, "r", asked, format=Regex(pattern="o+k")))
        if call in said:
            assert driver.calls("r") == [("nod", "{}")]
            assert driver.last("r").reason == "tool_calls"
        else:
            assert (driver.text("r"), driver.last("r").reason) == ("ok", "stop")


def test_without_a_choice_there_is_the_format_alone(parrot, drive):
    asked = with_tools(NOD, mode="none")
    sequence = receive(parrot, "r", asked, format=Regex(pattern="o+k"))
    assert sequence.outline.reader is None
    assert sequence.outline.rules.calls is None


def test_a_choice_of_what_is_not_there_is_refused(tiny):
    assert refusal(tiny, prompt=with_tools(NOD, allowed=("look",))).param == "tool_choice"
    assert refusal(tiny, prompt=with_tools(mode="required")).param == "tool_choice"


def test_a_strict_tool_that_cannot_be_enforced_is_refused_by_name(tiny):
    odd = Tool(name="odd", strict=True, parameters={"type": "object", "not": {}})
    refused = refusal(tiny, prompt=with_tools(odd))
    assert refused.param == "tools"
    assert "odd" in refused.message
    assert "not" in refused.message


# Trouble


def test_a_guide_that_fails_takes_only_its_own_answer_along(tiny, drive, monkeypatch):
    advance = Guide.advance

    def stumbling(guide, token):
        if guide is broken.guide:
            raise RuntimeError("lost")
        advance(guide, token)

    monkeypatch.setattr(Guide, "advance", stumbling)
    broken = receive(tiny, "broken", HI, format=JsonSchema(schema=PERSON))
    driver = hear(
        tiny, drive, broken, receive(tiny, "fine", HI, format=Regex(pattern="a{9}"), max_tokens=20)
    )
    failed = driver.last("broken")
    assert isinstance(failed, Failed)
    assert failed.code == Code.INTERNAL.word
    assert isinstance(driver.last("fine"), End)
    assert driver.text("fine") == "a" * 9


def test_a_token_that_no_grammar_takes_ends_the_answer_with_a_reason(tiny):
    sequence = receive(tiny, "r", HI, format=Regex(pattern="a"))
    guide = sequence.outline.guide(tiny, sequence.prompt[-1])
    guide.advance(tiny.tokenizer.encode("b")[0])
    assert "grammar" in guide.trouble


def test_compiled_grammars_are_kept(tiny):
    kept = reception(tiny)._grammars._kept
    receive(tiny, "r", HI, format=Regex(pattern="kept?"))
    before = len(kept)
    receive(tiny, "r", HI, format=Regex(pattern="kept?"))
    assert len(kept) == before
