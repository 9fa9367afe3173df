"""``<invoke name="f"><parameter name="k">value</parameter></invoke>``: MiniMax M2."""

from mlx_lm.tool_parsers.minimax_m2 import parse_tool_call

from services.runner.engine.calls.tagged import Tags
from services.runner.engine.calls.tagged_grammar import tagged_syntax

TAGS = Tags(
    call="<invoke name=",
    call_head_end=">",
    call_end="</invoke>",
    argument="<parameter name=",
    argument_head_end=">",
    argument_end="</parameter>",
    parse=parse_tool_call,
    sample='<invoke name="f"><parameter name="k">{}</parameter></invoke>',
    call_form='<invoke name="{}">',
    argument_form='<parameter name="{}">',
    holds_many=True,
)
SYNTAX = tagged_syntax(TAGS)
