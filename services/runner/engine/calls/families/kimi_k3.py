"""Kimi K3's XTML: tags of the form ``<|open|>argument key="k" type="string"<|sep|>``.

An argument's tag tells its type. Arguments may also come as one block of JSON.
"""

import re
from collections.abc import Sequence
from typing import Any

from mlx_lm.tool_parsers.kimi_k3 import parse_tool_call

from proto.prompt import Tool
from services.runner.engine.calls.reading import resumed
from services.runner.engine.calls.schema import Parameters, Schema
from services.runner.engine.calls.syntax import Syntax
from services.runner.engine.calls.tagged import TaggedReader, Tags
from services.runner.engine.calls.tagged_grammar import TaggedGrammar

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
    call_form='<|open|>call tool="{}" index="1"<|sep|>',
    argument_form='<|open|>argument key="{}" type="string"<|sep|>',
    holds_many=True,
    gap="",
    is_verbatim=True,
)
_ENDS_HEAD = '"<|sep|>'
_WORDS = {
    "number": ("number", "integer"),
    "boolean": ("boolean",),
    "null": ("null",),
    "object": ("object",),
    "array": ("array",),
}
"""What a tag calls a type, and what JSON schema does."""


class _Grammar(TaggedGrammar):
    def head(self, tool: Tool) -> str:
        before = f'<|open|>call tool="{_escaped(tool.name)}" index="'
        number = "/[1-9][0-9]{0,3}/"
        return self.rules.rule(self.rules.text(before), number, self.rules.text(_ENDS_HEAD))

    def argument(self, tool: Tool, parameters: Parameters, name: str) -> str:
        types = parameters.types(name) or {"string", *_WORDS}
        schemas = parameters.alternatives(parameters.schemas.get(name))
        texts = [schema for schema in schemas if schema.get("type", "string") == "string"]
        key = self.rules.text(f'<|open|>argument key="{_escaped(name)}" type="')
        forms = [self._text(tool, texts)] if texts else []
        forms += [
            self._json(tool, word, {**parameters.schema(name), "type": list(types & {*said})})
            for word, said in _WORDS.items()
            if types & {*said}
        ]
        return self.rules.rule(key, f"({' | '.join(forms)})")

    def _text(self, tool: Tool, schemas: Sequence[Schema]) -> str:
        return self.rules.rule(self.rules.text(f"string{_ENDS_HEAD}"), self.text(tool, schemas))

    def _json(self, tool: Tool, word: str, schema: Schema) -> str:
        end = self.rules.text(self.tags.argument_end)
        head = self.rules.text(f"{word}{_ENDS_HEAD}")
        return self.rules.rule(head, self.rules.json(tool, schema), end)


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace('"', "&quot;")


SYNTAX = Syntax(
    section=lambda tools: resumed(TaggedReader(TAGS, tools).read),
    grammar=lambda rules, wanted: _Grammar(TAGS, rules, wanted).calls(),
)
