"""``<atem:invoke name="f"><atem:parameter name="k">value</atem:parameter></atem:invoke>``: Muse."""

import re

from mlx_lm.tool_parsers.muse_spark import parse_tool_call

from services.runner.engine.calls.tagged import Tags
from services.runner.engine.calls.tagged_grammar import tagged_syntax

_NAME = re.compile(r'\bname="([^"]+)"')


def _name(head: str) -> str:
    found = _NAME.search(head)
    return found[1] if found else ""


TAGS = Tags(
    call="<atem:invoke",
    call_head_end=">",
    call_end="</atem:invoke>",
    argument="<atem:parameter",
    argument_head_end=">",
    argument_end="</atem:parameter>",
    name=_name,
    key=_name,
    parse=parse_tool_call,
    sample='<atem:invoke name="f"><atem:parameter name="k">{}</atem:parameter></atem:invoke>',
    streams=lambda start: not start.startswith('"'),  # What is quoted is JSON.
    call_form='<atem:invoke name="{}">',
    argument_form='<atem:parameter name="{}">',
    holds_many=True,
)
SYNTAX = tagged_syntax(TAGS)
