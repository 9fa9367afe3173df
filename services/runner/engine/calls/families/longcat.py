"""LongCat's calls: GLM's, with tags of its own, or JSON."""

from collections.abc import Sequence

from mlx_lm.tool_parsers.longcat import parse_tool_call

from proto.prompt import Tool
from services.runner.engine.calls.families.glm47 import key, or_json
from services.runner.engine.calls.reading import Section
from services.runner.engine.calls.syntax import Syntax
from services.runner.engine.calls.tagged import TaggedReader, Tags
from services.runner.engine.calls.tagged_grammar import TaggedGrammar

TAGS = Tags(
    argument="<longcat_arg_key>",
    argument_head_end="<longcat_arg_value>",
    argument_end="</longcat_arg_value>",
    name=str.strip,
    key=key,
    parse=parse_tool_call,
    sample="f<longcat_arg_key>k</longcat_arg_key><longcat_arg_value>{}</longcat_arg_value>",
    call_form="{}",
    argument_form="<longcat_arg_key>{}</longcat_arg_key>\n<longcat_arg_value>",
)


def _section(tools: Sequence[Tool]) -> Section:
    return or_json(TaggedReader(TAGS, tools).read)


SYNTAX = Syntax(
    section=_section,
    grammar=lambda rules, wanted: TaggedGrammar(TAGS, rules, wanted).calls(),
)
