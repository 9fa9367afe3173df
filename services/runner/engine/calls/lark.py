"""Grammars of calls in llguidance's Lark dialect, put together rule by rule."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from proto.errors import Code, MeshError
from proto.prompt import Tool
from services.runner.engine.calls.schema import Schema, object_schema

KEY = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
"""The name of an argument that no schema names."""
SPACE = r"[ \t]{0,2}|\n[ \t]{0,32}"
"""Between the parts of JSON: a model that may write space without end sometimes does."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_REASON = "failed to compile JSON schema: "
_UNSUPPORTED = ("Unimplemented", "Unknown format", "oneOf", "regex parse error")


class Rules:
    """Rules so far. Their names begin with ``call_``, so that they fit into any grammar."""

    def __init__(self, literal: Callable[[str], str]) -> None:
        self._literal = literal
        self._lines: list[str] = []

    def source(self, calls: str) -> str:
        """All rules, under a rule ``calls`` that is this one."""
        return "\n".join([f"calls: {calls}", *self._lines])

    def text(self, text: str) -> str:
        """A text as an expression, with the model's own tokens where it has them."""
        return self._literal(text) if text else '""'

    def is_token(self, text: str) -> bool:
        """Whether a token of the model's own is in the text, which no regular expression can be."""
        return "<[" in _STRING.sub("", self.text(text))

    def rule(self, *parts: str) -> str:
        """One part after the other."""
        return self.define(self.reserve(), " ".join(parts))

    def maybe(self, text: str) -> str:
        return f"({self.text(text)})?" if text else '""'

    def any_of(self, choices: Iterable[str]) -> str:
        return self.define(self.reserve(), " | ".join(choices))

    def many(self, item: str, between: str, *, least: int = 1, most: int | None = None) -> str:
        """So many, with something between each two."""
        if most == 0:
            return '""'
        times = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        some = item if most == 1 else self.rule(item, f"({between} {item}){times}")
        return some if least else f"({some})?"

    def listed(self, items: Sequence[tuple[str, bool]], between: str) -> str:
        """Items in this order, with something between each two; those not required may lack."""
        later = first = '""'
        for item, is_required in reversed(items):
            follows = self.rule(between, item, later)
            begins = self.rule(item, later)
            later = follows if is_required else self.any_of([follows, later])
            first = begins if is_required else self.any_of([begins, first])
        return first

    def terminal(self, expression: str) -> str:
        """A regular expression in Lark's terms."""
        name = f"CALL_{len(self._lines)}"
        self._lines.append(f"{name}: {expression}")
        return name

    def arguments(self, tool: Tool) -> str:
        """The whole arguments object as JSON."""
        return self.json(tool, object_schema(tool))

    def json(self, tool: Tool, schema: Schema, **guidance: Any) -> str:
        """JSON that satisfies a schema of the tool. MeshError when that cannot be enforced."""
        return self.rule(f"%json {enforceable(tool, schema, **guidance)}")

    def reserve(self) -> str:
        """The name of a rule that is defined later, so that it can stand within itself."""
        self._lines.append("")
        return f"call_{len(self._lines) - 1}"

    def define(self, name: str, expression: str) -> str:
        self._lines[int(name.removeprefix("call_"))] = f"{name}: {expression}"
        return name


def enforceable(tool: Tool, schema: Schema, **guidance: Any) -> str:
    """The schema as llguidance takes it. MeshError when it cannot be enforced.

    A tool that is not ``strict`` may say more than can be enforced; then the
    rest of its schema is.
    """
    options = {"whitespace_pattern": SPACE, "lenient": not tool.strict, **guidance}
    source = json.dumps({**schema, "x-guidance": options}, ensure_ascii=False)
    trouble = _trouble(source)
    if trouble and not tool.strict:
        relaxed = {**_without_odd_patterns(schema), "x-guidance": options}
        source = json.dumps(relaxed, ensure_ascii=False)
        trouble = _trouble(source)
    if trouble:
        raise refusal(tool, trouble)
    return source


def quoted(text: str) -> str:
    """A text as a string within a terminal."""
    return json.dumps(text, ensure_ascii=False)


def refusal(tool: Tool, trouble: str) -> MeshError:
    is_beyond_us = trouble.startswith(_UNSUPPORTED)
    return MeshError(
        Code.UNSUPPORTED_PARAMETER if is_beyond_us else Code.INVALID_REQUEST,
        f"the calls of tool {tool.name!r} cannot be enforced: {trouble}; change that in the tool",
        param="tools",
    )


def _without_odd_patterns(schema: Any) -> Any:
    """Look-around, common in patterns, is beyond llguidance; all else it can ignore."""
    if isinstance(schema, list):
        return [_without_odd_patterns(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_odd_patterns(value)
        for key, value in schema.items()
        if not (key == "pattern" and isinstance(value, str) and _trouble(_of_pattern(value)))
    }


def _of_pattern(pattern: str) -> str:
    return json.dumps({"type": "string", "pattern": pattern}, ensure_ascii=False)


def check_range(tool: Tool, least: int | None, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        raise refusal(tool, f"at least {least} and at most {most} is impossible")


@lru_cache(maxsize=1024)
def _trouble(schema: str) -> str:
    """Why the schema cannot be compiled; empty when it can."""
    said: str = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(f"start: %json {schema}"))
    return said.partition(_REASON)[2].partition("\n   1 |")[0].strip() or said
