"""LongCat's calls: GLM's, with tags of its own, or JSON."""

from collections.abc import Sequence

from mlx_lm.tool_parsers.longcat import parse_tool_call

from proto.inference import Tool
from services.runner.engine.calls.families.glm47 import key, or_json
from services.runner.engine.calls.reading import Section
from services.runner.engine.calls.tagged import TaggedReader, Tags

TAGS = Tags(
    argument="<longcat_arg_key>",
    argument_head_end="<longcat_arg_value>",
    argument_end="</longcat_arg_value>",
    name=str.strip,
    key=key,
    parse=parse_tool_call,
    sample="f<longcat_arg_key>k</longcat_arg_key><longcat_arg_value>{}</longcat_arg_value>",
)


def section(tools: Sequence[Tool]) -> Section:
    return or_json(TaggedReader(TAGS, tools).read)
