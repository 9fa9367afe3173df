"""Grammars of Gemma's values: JSON with bare keys and quotes of its own."""

import json
import re
from collections.abc import Callable
from typing import Any

from proto.prompt import Tool
from services.runner.engine.calls.free_text import texts_until
from services.runner.engine.calls.lark import KEY, Rules, check_range, refusal
from services.runner.engine.calls.schema import Parameters, Schema
from services.runner.engine.calls.syntax import Wanted

_TYPES = ("string", "number", "boolean", "null", "array", "object")
_BEYOND = (
    "not", "if", "patternProperties", "propertyNames", "minProperties", "maxProperties",
    "dependentRequired", "dependentSchemas", "prefixItems", "contains", "uniqueItems",
)  # fmt: skip
"""Keywords that no rule here keeps."""
_BARE = re.compile(r"\w+")


class ToolGrammar:
    """The calls of one tool."""

    def __init__(self, rules: Rules, tool: Tool, quote: str, end: str) -> None:
        self._rules = rules
        self._tool = tool
        self._quote = quote
        self._end = end
        self._parameters = Parameters(tool)
        self._known: dict[str, str] = {}
        """Rules by their schema, so that a schema may hold itself."""

    def call(self) -> str:
        name = self._tool.name
        if not name or name != name.strip() or "{" in name:
            raise refusal(self._tool, f"the name {name!r} has no form in this model's syntax")
        for key in self._parameters.names:
            if not key or ":" in key:
                raise refusal(self._tool, f"the name {key!r} has no form in this model's syntax")
        arguments = self._value({"type": "object", **self._tool.parameters})
        return self._rules.rule(self._rules.text(f"call:{name}"), arguments)

    def _value(self, schema: Any) -> str:
        source = json.dumps(schema, sort_keys=True)
        if source not in self._known:
            name = self._known[source] = self._rules.reserve()
            forms = [self._of_type(each) for each in self._parameters.alternatives(schema)]
            self._rules.define(name, " | ".join(forms))
        return self._known[source]

    def _of_type(self, schema: Schema) -> str:
        beyond = [keyword for keyword in _BEYOND if keyword in schema]
        if beyond and self._tool.strict:
            raise refusal(self._tool, f"Unimplemented keys: {json.dumps(beyond)}")
        kind = schema.get("type")
        if kind == "string":
            return self._string(schema)
        if kind in ("array", "object") and ("const" in schema or "enum" in schema):
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return self._rules.any_of(self._rules.text(self._literal(value)) for value in values)
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        if kind is None:
            return self._anything()
        return self._rules.json(self._tool, schema)

    def _anything(self) -> str:
        return self._rules.any_of(self._value({"type": kind}) for kind in _TYPES)

    def _string(self, schema: Schema) -> str:
        text = texts_until(
            self._rules, self._tool, [schema], self._quote, taboo=[self._end], is_verbatim=True
        )
        return self._rules.rule(self._rules.text(self._quote), text)

    def _array(self, schema: Schema) -> str:
        rules, least, most = self._rules, schema.get("minItems", 0), schema.get("maxItems")
        check_range(self._tool, least, most)
        items = rules.many(
            self._value(schema.get("items", {})), rules.text(","), least=least, most=most
        )
        return rules.rule(rules.text("["), items, rules.text("]"))

    def _object(self, schema: Schema) -> str:
        rules = self._rules
        properties, others = schema.get("properties"), schema.get("additionalProperties", {})
        required = schema.get("required", [])
        if isinstance(properties, dict):
            members = [
                (rules.rule(rules.text(f"{self._key(name)}:"), self._value(part)), name in required)
                for name, part in properties.items()
            ]
            inner = rules.listed(members, rules.text(","))
        elif others is False:
            inner = '""'
        else:
            member = rules.rule(KEY, rules.text(":"), self._value(others))
            inner = rules.many(member, rules.text(","), least=0)
        return rules.rule(rules.text("{"), inner, rules.text("}"))

    def _key(self, name: str) -> str:
        return name if _BARE.fullmatch(name) else f"{self._quote}{name}{self._quote}"

    def _literal(self, value: Any) -> str:
        match value:
            case str():
                return f"{self._quote}{value}{self._quote}"
            case list():
                return f"[{','.join(map(self._literal, value))}]"
            case dict():
                inner = (f"{self._key(name)}:{self._literal(of)}" for name, of in value.items())
                return f"{{{','.join(inner)}}}"
            case _:
                return json.dumps(value)


def gemma_grammar(quote: str) -> Callable[[Rules, Wanted], str]:
    def grammar(rules: Rules, wanted: Wanted) -> str:
        call = rules.any_of(
            ToolGrammar(rules, tool, quote, wanted.end).call() for tool in wanted.tools
        )
        section = rules.rule(rules.text(wanted.start), call, rules.text(wanted.end))
        return rules.many(section, '""') if wanted.parallel else section

    return grammar
