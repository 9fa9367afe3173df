"""``f<arg_key>k</arg_key><arg_value>value</arg_value>``: GLM 4.5 and later, Laguna, Ling.

A section is one call, and the section's end is the call's. Some checkpoints
write JSON or plain ``f k=1`` instead, which is read too.
"""

from collections.abc import Sequence
from typing import Any

from mlx_lm.tool_parsers.glm47 import parse_tool_call

from proto.prompt import Tool
from services.runner.engine.calls.json_calls import read_objects
from services.runner.engine.calls.reading import Section
from services.runner.engine.calls.schema import function
from services.runner.engine.calls.syntax import Syntax
from services.runner.engine.calls.tagged import TaggedReader, Tags
from services.runner.engine.calls.tagged_grammar import TaggedGrammar
from services.runner.engine.calls.text import Steps, Text
from services.runner.engine.calls.writing import Calls


def key(head: str) -> str:
    """The name within ``name</arg_key>`` and what follows."""
    return head.partition("</")[0].strip()


TAGS = Tags(
    argument="<arg_key>",
    argument_head_end="<arg_value>",
    argument_end="</arg_value>",
    name=str.strip,
    key=key,
    parse=parse_tool_call,
    sample="f<arg_key>k</arg_key><arg_value>{}</arg_value>",
    call_form="{}",
    argument_form="<arg_key>{}</arg_key>\n<arg_value>",
)


def _section(tools: Sequence[Tool]) -> Section:
    functions = [function(tool) for tool in tools]

    def plain(head: str) -> tuple[str, Any]:
        call: dict[str, Any] = parse_tool_call(head, functions)
        return ("", {}) if not head.strip() else (call["name"], call["arguments"])

    return or_json(TaggedReader(TAGS, tools, plain).read)


def or_json(tagged: Section) -> Section:
    """Sections that may hold JSON instead."""

    def read(text: Text, calls: Calls) -> Steps[None]:
        is_json = (yield from text.skip_space()) in "{["
        yield from (read_objects if is_json else tagged)(text, calls)

    return read


SYNTAX = Syntax(
    section=_section,
    grammar=lambda rules, wanted: TaggedGrammar(TAGS, rules, wanted).calls(),
)
