import json
import pkgutil

import mlx_lm.tool_parsers
from mlx_lm.tokenizer_utils import load

from proto.ids import RequestId
from proto.prompt import ToolCall
from services.runner.engine.calls.family import Family, family_of, knows_tools
from tests.tiny import make_tiny
from tests.unit.engine.calls.families import FAMILIES
from tests.unit.engine.calls.reading import TOOLS
from tests.unit.engine.calls.test_reading import families


def tokenizer(home, template, markers=()):
    return load(make_tiny(home, markers=tuple(markers), template=template))


def test_every_parser_of_mlx_lm_has_its_family():
    for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__):
        assert Family(module.name, "<s>", "</s>").reader(TOOLS, RequestId("r")).calls == 0
        assert module.name == "laguna" or module.name in FAMILIES


@families
def test_a_model_that_is_told_of_tools_has_its_own_family(tmp_path, name):
    written = FAMILIES[name]
    own = tokenizer(tmp_path, written.template + "{{ tools }}", written.markers)
    found = family_of(own)
    assert (found.name, found.start, found.end) == (name, written.start, written.end)
    assert knows_tools(own)


@families
def test_a_template_that_knows_no_tools_gets_the_family_of_plain_json(tmp_path, name):
    written = FAMILIES[name]
    untold = tokenizer(tmp_path, written.template, written.markers)
    assert family_of(untold).name == "json_tools"
    assert not knows_tools(untold)


def test_tools_that_nobody_can_read_calls_of_are_not_shown_to_the_template(tmp_path):
    foreign = tokenizer(tmp_path, "{{ tools }} some calls of its own")
    assert not knows_tools(foreign)
    assert family_of(foreign).start == "<tool_call>"


def test_mistral_gets_ids_of_nine_letters_always_the_same():
    mistral = Family("mistral", "", "")
    assert mistral.id_in_prompt("abcDEF123", "f", 3) == "abcDEF123"
    told = mistral.id_in_prompt("call_0123", "f", 3)
    assert len(told) == 9
    assert told.isalnum()
    assert told == mistral.id_in_prompt("call_0123", "g", 4)
    assert told != mistral.id_in_prompt("abc-ef123", "f", 3)


def test_kimi_gets_ids_as_it_writes_them_itself():
    kimi = Family("kimi_k2", "", "")
    assert kimi.id_in_prompt("call_0123", "f", 3) == "functions.f:3"
    assert kimi.id_in_prompt("functions.f:7", "f", 3) == "functions.f:7"


def test_calls_of_earlier_turns_are_written_for_templates_that_do_not():
    arguments = {"a": 'x"y', "b": True, "c": None, "d": [True]}
    calls = [ToolCall(id="1", name="f", arguments=json.dumps(arguments)),
             ToolCall(id="2", name="g", arguments="")]  # fmt: skip
    assert Family("json_tools", "<tool_call>", "</tool_call>").written(calls) == (
        f'<tool_call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )
    assert Family("pythonic", "<s>", "</s>").written(calls) == (
        '<s>[f(a="x\\"y", b=True, c=None, d=[true]), g()]</s>'
    )
