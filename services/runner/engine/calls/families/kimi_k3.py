"""Kimi K3's XTML: tags of the form ``<|open|>argument key="k" type="string"<|sep|>``.

An argument's tag tells its type. Arguments may also come as one block of JSON.
"""

import re
from typing import Any

from mlx_lm.tool_parsers.kimi_k3 import parse_tool_call

from services.runner.engine.calls.tagged import Tags

_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def _attribute(head: str, name: str) -> str:
    value = dict(_ATTRIBUTE.findall(head)).get(name, "")
    return str(value).replace("&quot;", '"').replace("&amp;", "&")


def _types(head: str, _: frozenset[str]) -> frozenset[str]:
    return frozenset([_attribute(head, "type") or "string"])


def _parse(call: str, tools: Any) -> Any:
    """The parser reads an argument's type in its tag, not in the tool's schema."""
    kind = tools[0]["function"]["parameters"]["properties"]["k"]["type"]
    return parse_tool_call(call.replace(' key="k"', f' key="k" type="{kind}"', 1))


TAGS = Tags(
    call="<|open|>call",
    call_head_end="<|sep|>",
    call_end="<|close|>call<|sep|>",
    argument="<|open|>argument",
    argument_head_end="<|sep|>",
    argument_end="<|close|>argument<|sep|>",
    name=lambda head: _attribute(head, "tool"),
    key=lambda head: _attribute(head, "key"),
    types=_types,
    block="<|open|>json",
    parse=_parse,
    sample='<|open|>call tool="f"<|sep|><|open|>argument key="k"<|sep|>{}'
    "<|close|>argument<|sep|><|close|>call<|sep|>",
)
