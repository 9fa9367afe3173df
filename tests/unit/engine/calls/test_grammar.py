"""Grammars are held against real matchers, over tokens that are the markers and over letters."""

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import llguidance.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from proto.errors import Code, MeshError
from proto.prompt import Tool, ToolChoice
from services.runner.engine import bundled
from services.runner.engine.calls.family import Family, family_of
from services.runner.engine.constraints.grammars import Grammars
from services.runner.engine.loading import load
from tests.tiny import FIRST_ORDINARY, make_tiny
from tests.unit.engine.calls.families import FAMILIES, Call, mistral_list
from tests.unit.engine.calls.reading import TOOLS, Heard, mlx_calls
from tests.unit.engine.calls.test_reading import CALLS, calls, families

ORDER = {name: at for at, name in enumerate((*TOOLS[0].parameters["properties"], "name", "size"))}
WALKS = 12
LONGEST_WALK = 500


def in_order(called: Sequence[Call]) -> list[Call]:
    """Arguments in the order of their schema, which is the only one that is allowed."""

    def ordered(of: Any) -> Any:
        if not isinstance(of, dict):
            return of
        return {key: ordered(of[key]) for key in sorted(of, key=lambda key: ORDER.get(key, 99))}

    return [(name, ordered(arguments)) for name, arguments in called]


class Model:
    """A tiny model of a family, and the matchers that its engine would use."""

    def __init__(self, name: str, home: Path, *, are_special: bool) -> None:
        written = FAMILIES[name]
        markers = [written.start, written.end, *written.markers]
        if name == "kimi_k3":  # Its longer markers are made of these.
            markers = list(written.markers)
        if name == "minicpm5":
            markers = []
        template = written.template + "{{ tools }}"
        folder = make_tiny(
            home / name, markers=tuple(dict.fromkeys(filter(None, markers))), template=template
        )
        if are_special:
            file = folder / "tokenizer.json"
            content = json.loads(file.read_text())
            for token in content["added_tokens"]:
                token["special"] = True
            file.write_text(json.dumps(content))
        self.name = name
        model = load(str(folder), home)
        self.tokenizer = model.tokenizer
        self.family = family_of(model.tokenizer)
        self.grammars = Grammars(model, self.family)

    def matcher(self, *tools: Tool, parallel: bool = True) -> LLMatcher:
        return self.grammars.calls(tools or TOOLS, ToolChoice(parallel=parallel))

    def accepts(self, text: str, *tools: Tool, parallel: bool = True) -> bool:
        matcher = self.matcher(*tools, parallel=parallel)
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def text(self, called: list[Call]) -> str:
        """The calls with all markers, arguments in the order of the schema."""
        family, between = self.family, "\n" if self.name == "json_tools" else ""
        sections = FAMILIES[self.name].sections(in_order(called))
        return between.join(f"{family.start}{section}{family.end}" for section in sections)

    def sections(self, text: str) -> Iterator[str]:
        start, end = self.family.start, self.family.end
        if not end:
            yield text.removeprefix(start)
            return
        for part in text.split(start)[1:]:
            yield part.partition(end)[0]

    def walk(self, seed: int) -> str | None:
        """A random answer that the grammar allows; None for one that went on for too long."""
        rng, matcher, tokens = random.Random(seed), self.matcher(), list[int]()
        width = self.grammars.tokenizer.vocab_size
        mask = llguidance.numpy.allocate_token_bitmask(1, width)
        while not (matcher.is_stopped() or (matcher.is_accepting() and rng.random() < 0.5)):
            if len(tokens) >= LONGEST_WALK:
                return None
            llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[:width]
            allowed = [int(token) for token in np.flatnonzero(bits) if token >= FIRST_ORDINARY]
            assert allowed, f"stuck after {self.tokenizer.decode(tokens)!r}"
            is_long = len(tokens) > 60
            step = self._end(matcher) if is_long and rng.random() < 0.5 else []
            step = step or [rng.choice(self._closing(allowed) if is_long else allowed)]
            assert matcher.consume_tokens(step)
            tokens += step
        return str(self.tokenizer.decode(tokens))

    def _end(self, matcher: LLMatcher) -> list[int]:
        """The end of a text that a tag closes: at random, nobody would ever spell one."""
        for tag in ("</parameter>", "</param>", "</atem:parameter>", "</longcat_arg_value>"):
            tokens = list(self.tokenizer.encode(tag, add_special_tokens=False))
            if matcher.validate_tokens(tokens) == len(tokens):
                return tokens
        return []

    def _closing(self, allowed: list[int]) -> list[int]:
        """Where there are any, those that end something."""
        known = self.grammars.tokenizer
        ends = [token for token in allowed if known.decode_str([token])[:1] in tuple('"<}])|/>')]
        return ends or allowed


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Model]:
    made: dict[tuple[str, bool], Model] = {}

    def get(name: str, are_special: bool) -> Model:
        if (name, are_special) not in made:
            home = tmp_path_factory.mktemp("models")
            made[name, are_special] = Model(name, home, are_special=are_special)
        return made[name, are_special]

    return get


@pytest.fixture(params=[True, False], ids=["special", "added"])
def model(request, models, name) -> Model:
    return models(name, request.param)


def refusal(name: str, *tools: Tool) -> MeshError:
    with pytest.raises(MeshError) as refused:
        grammar(name, *tools)
    assert refused.value.param == "tools"
    return refused.value


def grammar(name: str, *tools: Tool) -> str:
    written = FAMILIES[name]
    return Family(name, written.start, written.end).grammar(
        tools, parallel=True, literal=json.dumps
    )


def tool(schema: dict[str, Any], *, name: str = "f", strict: bool = False) -> Tool:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return Tool(name=name, parameters=parameters, strict=strict)


@families
def test_what_the_template_writes_is_allowed(model):
    assert model.accepts(model.text(CALLS))
    assert model.accepts(model.text(CALLS[1:2]), parallel=False)
    assert not model.accepts(model.text(CALLS), parallel=False)


@families
@settings(deadline=None, derandomize=True, max_examples=25)
@given(data=st.data())
def test_whatever_is_called_as_the_template_writes_it_is_allowed(models, name, data):
    called = data.draw(calls(name))
    model = models(name, data.draw(st.booleans()))
    assert model.accepts(model.text(called))


@families
def test_a_random_walk_ends_in_calls_that_satisfy_the_schema(model):
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    texts = list(filter(None, map(model.walk, range(WALKS))))
    assert len(texts) >= WALKS / 3
    for text in texts:
        heard = Heard(model.name)
        for section in model.sections(text):
            heard.section(*section)
        assert heard.calls, text
        for name, arguments in heard.calls:
            jsonschema.validate(arguments, schemas[name])


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"function_gemma", "muse_spark"}))
def test_the_parser_of_mlx_lm_reads_what_a_random_walk_wrote(model):
    for text in filter(None, map(model.walk, range(WALKS))):
        for section in model.sections(text):
            said = Heard(model.name).section(section).calls
            if not (model.name == "longcat" and said == [("now", {})]):
                assert said == mlx_calls(model.name, section), text


@families
@pytest.mark.parametrize(
    "wrong",
    [
        ("strange", {"city": "Oslo"}),
        ("get_weather", {"days": 2}),
        ("get_weather", {"city": "Oslo", "days": "two"}),
        ("get_weather", {"city": "Oslo", "unit": "rankine"}),
        ("get_weather", {"city": "Oslo", "hours": ["x"]}),
        ("get_weather", {"city": "Oslo", "area": {"size": 2}}),
        ("get_weather", {"city": "Oslo", "strange": 2}),
        ("now", {"city": "Oslo"}),
    ],
)
def test_nothing_else_may_be_called(models, name, wrong):
    model = models(name, True)
    assert model.accepts(model.text([("get_weather", {"city": "Oslo"})]))
    assert not model.accepts(model.text([wrong]))


@families
def test_a_tool_without_a_schema_takes_any_arguments(models, name):
    model = models(name, True)
    for arguments in ({}, {"a": "some text"}):
        assert model.accepts(model.text([("free", arguments)]), Tool(name="free"))


@families
def test_names_may_hold_what_is_written_specially_elsewhere(models, name):
    model = models(name, True)
    for odd in ("a-b", "ns.f", "größe_1", "a/b"):
        odd_tool = Tool(name=odd, parameters={"properties": {odd: {"type": "integer"}}})
        text = model.text([(odd, {odd: 1})])
        if name == "gemma4":
            text = text.replace(f"{odd}:", f'<|"|>{odd}<|"|>:')
        if name == "function_gemma":
            text = text.replace(f"{odd}:", f"<escape>{odd}<escape>:")
        if name == "mistral" and not re.fullmatch(r"[\w.-]+", odd):
            text = f"{model.family.start}{mistral_list([(odd, {odd: 1})])[0]}"
        if name in ("gemma4", "function_gemma") and re.fullmatch(r"\w+", odd):
            text = model.text([(odd, {odd: 1})])
        assert model.accepts(text, odd_tool), odd


def test_mistrals_list_of_calls_is_allowed(models):
    model = models("mistral", True)
    assert model.accepts(f"[TOOL_CALLS]{mistral_list(CALLS[1:2] * 2)[0]}")


@pytest.mark.parametrize("name", ["qwen3_coder", "glm47", "gemma4", "muse_spark", "kimi_k3"])
@pytest.mark.parametrize(
    ("schema", "fits", "fails"),
    [
        ({"type": "string", "pattern": "^[a-z]+/[0-9]{2}$"}, "abc/12", "abc/1"),
        ({"type": "string", "pattern": "b+"}, "abbc", "ac"),
        ({"type": "string", "minLength": 3, "maxLength": 4}, "abcd", "abcde"),
        ({"type": "string", "const": "only this"}, "only this", "only that"),
        ({"anyOf": [{"type": "string", "enum": ["x", "y"]}, {"type": "null"}]}, "y", "z"),
        ({"allOf": [{"type": "string"}, {"maxLength": 2}]}, "ab", "abc"),
        ({"$ref": "#/$defs/short"}, "ab", "abc"),
    ],
)
def test_texts_without_quotes_satisfy_their_schema(models, name, schema, fits, fails):
    model = models(name, True)
    parameters = {
        "type": "object",
        "properties": {"a": schema},
        "$defs": {"short": {"type": "string", "maxLength": 2}},
    }
    asked = Tool(name="f", parameters=parameters, strict=True)
    assert model.accepts(model.text([("f", {"a": fits})]), asked)
    assert not model.accepts(model.text([("f", {"a": fails})]), asked)


@families
def test_a_schema_may_hold_itself(models, name):
    model = models(name, True)
    tree = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "below": {"type": "array", "items": {"$ref": "#/properties/tree"}},
        },
        "required": ["value"],
        "additionalProperties": False,
    }
    asked = Tool(name="grow", parameters={"type": "object", "properties": {"tree": tree}})
    called = {"value": 1, "below": [{"value": 2, "below": []}, {"value": 3}]}
    assert model.accepts(model.text([("grow", {"tree": called})]), asked)
    assert not model.accepts(
        model.text([("grow", {"tree": {"value": 1, "below": [{"below": []}]}})]), asked
    )


@families
def test_a_schema_that_cannot_be_enforced_is_refused_by_its_keyword(name):
    beyond = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    refused = refusal(name, tool({"type": "integer"}, name="fine"), tool(beyond, strict=True))
    assert refused.code is Code.UNSUPPORTED_PARAMETER
    assert "'f'" in refused.message
    assert "uniqueItems" in refused.message


@families
def test_a_tool_that_is_not_strict_may_say_more_than_can_be_enforced(name):
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    assert grammar(name, tool(schema), tool({"type": "string", "format": "strange"}))
    assert grammar(name, tool({"type": "string", "pattern": "(?=lookahead)x"}))


def nested(depth: int) -> dict[str, Any]:
    return {"properties": {"a": nested(depth - 1)}} if depth else {"type": "integer"}


ODD_SCHEMAS: list[Any] = [
    3, True, {"type": {"x": 1}}, {"type": []}, {"enum": []}, {"enum": [{"x": 1}, [1], None, 2.5]},
    {"anyOf": [3, None]}, {"type": "string", "minLength": "x"}, {"$ref": "#/properties/a"},
    {"type": "string", "minLength": 5, "maxLength": 2}, {"type": "array", "items": []},
    {"type": "array", "minItems": 3, "maxItems": 1}, {"type": "array", "maxItems": 1},
    {"type": "string", "pattern": "("}, {"type": "string", "pattern": '\n/"\\/'},
    {"type": "string", "enum": ["x</parameter>y", "\x00"]}, {"const": "\ud800"},
    {"type": "string", "maxLength": 100_000}, nested(40), nested(300), nested(900),
]  # fmt: skip


@families
@pytest.mark.parametrize("schema", ODD_SCHEMAS, ids=range(len(ODD_SCHEMAS)))
def test_odd_schemas_are_compiled_or_refused(name, schema):
    for strict in (True, False):
        with contextlib.suppress(MeshError):
            rules = grammar(name, tool(schema, strict=strict))
            source = LLMatcher.grammar_from_lark(f"start: calls\n{rules}")
            assert LLMatcher.validate_grammar(source) == ""


@pytest.mark.parametrize(
    "parameters", [{"properties": []}, {"required": "a"}, {"$ref": "#"}, {"type": "string"}]
)
def test_odd_parameters_are_no_trouble_to_a_reader(parameters):
    for name in FAMILIES:
        (section,) = FAMILIES[name].sections([("f", {"a": "some text here"})])
        odd = Heard(name, [Tool(name="f", parameters=parameters)]).section(section)
        assert odd.calls == [("f", {"a": "some text here"})]


@families
def test_a_schema_that_is_none_is_refused(name):
    refused = refusal(name, tool({"$ref": "#/nowhere"}))
    assert refused.code is Code.INVALID_REQUEST
    assert "nowhere" in refused.message


@pytest.mark.parametrize(
    ("name", "odd"),
    [("qwen3_coder", "a>b"), ("glm47", " a"), ("gemma4", "a{b"), ("pythonic", "f("),
     ("kimi_k2", ""), ("minimax_m2", "a>b"), ("muse_spark", 'a"b')],
)  # fmt: skip
def test_a_name_that_the_syntax_cannot_write_is_refused(name, odd):
    assert refusal(name, Tool(name=odd)).code is Code.INVALID_REQUEST


@pytest.fixture(scope="session")
def smollm() -> LLTokenizer:
    _, metadata = bundled._read(bundled._gguf())
    return LLTokenizer(bundled._tokenizer(metadata).to_str())


@families
def test_a_real_vocabulary_without_markers_will_do(smollm, name):
    written = FAMILIES[name]
    rules = Family(name, written.start, written.end).grammar(
        TOOLS, parallel=True, literal=json.dumps
    )
    matcher = LLMatcher(smollm, LLMatcher.grammar_from_lark(f"start: calls\n{rules}"))
    between = "\n" if name == "json_tools" else ""
    text = between.join(
        f"{written.start}{s}{written.end}" for s in written.sections(in_order(CALLS))
    )
    tokens = smollm.tokenize_str(text)
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert matcher.is_accepting()
