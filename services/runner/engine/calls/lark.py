"""Grammars of calls in llguidance's Lark dialect, put together rule by rule."""

import json
from collections.abc import Callable, Iterable
from functools import lru_cache

from llguidance import LLMatcher

from proto.errors import Code, MeshError
from proto.inference import Tool
from services.runner.engine.calls.schema import Schema, object_schema

_WHITESPACE = r"[\x20\x0A\x0D\x09]{1,32}"
"""Between the parts of JSON: enough to indent it, too little to never end."""
_REASON = "failed to compile JSON schema: "
_UNSUPPORTED = ("Unimplemented", "Unknown format", "oneOf", "regex parse error")


class Rules:
    """Rules so far. Their names begin with ``call_``, so that they fit into any grammar."""

    def __init__(self, literal: Callable[[str], str]) -> None:
        self.text = literal
        """A text as a Lark expression, with the model's own tokens where it has them."""
        self._lines: list[str] = []

    def source(self, calls: str) -> str:
        """All rules, under a rule ``calls`` that is this one."""
        return "\n".join([f"calls: {calls}", *self._lines])

    def rule(self, *parts: str) -> str:
        """One part after the other."""
        return self._named("call_", " ".join(parts))

    def any_of(self, choices: Iterable[str]) -> str:
        return self._named("call_", " | ".join(choices))

    def many(self, item: str, between: str) -> str:
        """One or more."""
        return self.rule(item, f"({between} {item})*")

    def arguments(self, tool: Tool) -> str:
        """The whole arguments object as JSON."""
        return self.json(tool, object_schema(tool))

    def json(self, tool: Tool, schema: Schema) -> str:
        """JSON that satisfies a schema of the tool. MeshError when that cannot be enforced.

        A tool that is not ``strict`` may say more than can be enforced; then the
        rest of its schema is.
        """
        guidance = {"whitespace_pattern": _WHITESPACE, "lenient": not tool.strict}
        source = json.dumps({**schema, "x-guidance": guidance}, ensure_ascii=False)
        trouble = _trouble(source)
        if trouble:
            raise _refusal(tool, trouble)
        return self._named("call_", f"%json {source}")

    def _named(self, prefix: str, expression: str) -> str:
        name = f"{prefix}{len(self._lines)}"
        self._lines.append(f"{name}: {expression}")
        return name


@lru_cache(maxsize=1024)
def _trouble(schema: str) -> str:
    """Why the schema cannot be compiled; empty when it can."""
    said: str = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(f"start: %json {schema}"))
    return said.partition(_REASON)[2].partition("\n   1 |")[0].strip() or said


def _refusal(tool: Tool, trouble: str) -> MeshError:
    is_beyond_us = trouble.startswith(_UNSUPPORTED)
    return MeshError(
        Code.UNSUPPORTED_PARAMETER if is_beyond_us else Code.INVALID_REQUEST,
        f"the parameters of tool {tool.name!r} cannot be enforced: {trouble}; "
        "change that part of its schema",
        param="tools",
    )
