"""``<function name="f"><param name="k">value</param></function>``: MiniCPM5.

The section's markers are the call's own tags. A value with markup or line
breaks in it is wrapped in CDATA.
"""

import re

from mlx_lm.tool_parsers.minicpm5 import parse_tool_call

from services.runner.engine.calls.tagged import Tags, unquoted
from services.runner.engine.calls.tagged_grammar import tagged_syntax


def _completed(raw: str) -> str:
    is_open = raw.lstrip().startswith("<![CDATA[") and "]]>" not in raw
    return f"{raw}]]>" if is_open else raw


_AFTER_CDATA = re.compile(r"\]\]>.*$|\s*\]{0,2}$", re.DOTALL)
"""Whether the value ends with its CDATA is known when it has ended."""


def _key(head: str) -> str:
    return unquoted(head.partition("=")[2])


TAGS = Tags(
    call_head_end=">",
    argument="<param",
    argument_head_end=">",
    argument_end="</param>",
    key=_key,
    parse=parse_tool_call,
    sample='<function name="f"><param name="k">{}</param></function>',
    tail=_AFTER_CDATA,
    completed=_completed,
    call_form='"{}">',
    argument_form='<param name="{}">',
    gap="",
)
SYNTAX = tagged_syntax(TAGS)
