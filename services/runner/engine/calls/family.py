"""Which syntax of calls a model was trained on."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.ids import RequestId
from proto.prompt import Tool, ToolCall
from services.runner.engine.calls.families import (
    function_gemma,
    gemma4,
    glm47,
    harmony,
    json_tools,
    kimi_k2,
    kimi_k3,
    longcat,
    minicpm5,
    minimax_m2,
    mistral,
    muse_spark,
    pythonic,
    qwen3_coder,
)
from services.runner.engine.calls.json_calls import json_call
from services.runner.engine.calls.lark import Rules, enforceable, refusal
from services.runner.engine.calls.reading import Reader, SectionReader
from services.runner.engine.calls.schema import object_schema
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.writing import CallText
from services.runner.engine.template import mentions

__all__ = ["CallText", "Family", "Reader", "family_of"]

_SYNTAXES: dict[str, Syntax] = {
    "function_gemma": function_gemma.SYNTAX,
    "gemma4": gemma4.SYNTAX,
    "glm47": glm47.SYNTAX,
    "harmony": harmony.SYNTAX,
    "json_tools": json_tools.SYNTAX,
    "kimi_k2": kimi_k2.SYNTAX,
    "kimi_k3": kimi_k3.SYNTAX,
    "laguna": glm47.SYNTAX,
    "longcat": longcat.SYNTAX,
    "minicpm5": minicpm5.SYNTAX,
    "minimax_m2": minimax_m2.SYNTAX,
    "mistral": mistral.SYNTAX,
    "muse_spark": muse_spark.SYNTAX,
    "pythonic": pythonic.SYNTAX,
    "qwen3_coder": qwen3_coder.SYNTAX,
}


NESTED = 100
"""Levels of objects and lists in a tool's schema. Others refuse more than ten of them."""


class Family:
    """A syntax of calls, with what one model's tokenizer says of its markers."""

    def __init__(self, name: str, start: str, end: str) -> None:
        self.name = name
        """mlx-lm's ``tool_parser_type``, or that of a family which it does not know."""
        self.start = start
        """The text that begins a section of calls."""
        self.end = end
        """The text that ends it; empty when it lasts to the end of the answer."""

    def reader(self, tools: Sequence[Tool], request: RequestId) -> Reader:
        """Of one request's answer; calls that the model gives no id have theirs of the request."""
        return SectionReader(_SYNTAXES[self.name].section(tools), request)

    def written(self, calls: Sequence[ToolCall]) -> str:
        """Calls of an earlier turn, for a template that does not write them itself."""
        write = _SYNTAXES[self.name].written
        if write is not None:
            return f"{self.start}{write(calls)}{self.end}"
        return "\n".join(f"{self.start}\n{json_call(call)}\n{self.end}" for call in calls)

    def id_in_prompt(self, id: str, name: str, number: int) -> str:
        """How the template wants to have a call's id, which may be another model's or client's."""
        return _SYNTAXES[self.name].id(id, name, number)

    def grammar(
        self, tools: Sequence[Tool], *, parallel: bool, literal: Callable[[str], str]
    ) -> str:
        """Lark rules, in llguidance's dialect, of which ``calls`` is what an answer may call.

        That is one call of a tool given, or with ``parallel`` one or more, with
        the markers around it and arguments that satisfy the tool's schema.
        ``literal`` says how a text is written in Lark, its special tokens by
        number. MeshError for a tool whose schema cannot be enforced.
        """
        for tool in tools:
            _check(tool)
        rules = Rules(literal)
        wanted = Wanted(tools, self.start, self.end, parallel)
        return rules.source(_SYNTAXES[self.name].grammar(rules, wanted))


def _check(tool: Tool) -> None:
    try:
        depth = _depth(tool.parameters)
        json.dumps(tool.parameters, ensure_ascii=False).encode()
    except (RecursionError, UnicodeError):
        depth = NESTED + 1
    if depth > NESTED:
        raise refusal(tool, f"its schema is nested more than {NESTED} deep, or is no valid text")
    enforceable(tool, object_schema(tool))


def _depth(schema: Any) -> int:
    parts = schema.values() if isinstance(schema, dict) else schema
    if not isinstance(schema, dict | list):
        return 0
    return 1 + max(map(_depth, parts), default=0)


def family_of(tokenizer: TokenizerWrapper) -> Family:
    """The model's own family; json_tools for one whose template knows no tools."""
    if not knows_tools(tokenizer):
        return Family("json_tools", json_tools.START, json_tools.END)
    if _type(tokenizer) == harmony.NAME:
        return Family(harmony.NAME, harmony.SECTION, harmony.CALL)
    return Family(_type(tokenizer), tokenizer.tool_call_start, tokenizer.tool_call_end)


def knows_tools(tokenizer: TokenizerWrapper) -> bool:
    """Whether the template tells the model of its tools, in a syntax that can be read.

    A model for which it is False is told in the prompt, in json_tools' syntax.
    """
    return _type(tokenizer) in _SYNTAXES and mentions(tokenizer, "tools")


def _type(tokenizer: TokenizerWrapper) -> str:
    if harmony.is_spoken(tokenizer):
        return harmony.NAME
    return tokenizer._tokenizer.init_kwargs.get("tool_parser_type") or ""
