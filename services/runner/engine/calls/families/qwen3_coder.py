"""``<function=f><parameter=k>value</parameter></function>``: Qwen3-Coder, Nemotron 3, Step."""

from mlx_lm.tool_parsers.qwen3_coder import parse_tool_call

from services.runner.engine.calls.tagged import Tags
from services.runner.engine.calls.tagged_grammar import tagged_syntax

TAGS = Tags(
    call="<function=",
    call_head_end=">",
    call_end="</function>",
    argument="<parameter=",
    argument_head_end=">",
    argument_end="</parameter>",
    name=str.strip,
    key=str.strip,
    parse=parse_tool_call,
    sample="<function=f><parameter=k>{}</parameter></function>",
    call_form="<function={}>",
    argument_form="<parameter={}>",
)
SYNTAX = tagged_syntax(TAGS)
