"""``call:f{k:<|"|>value<|"|>,n:2}``: Gemma 4, and with other quotes FunctionGemma."""

from collections.abc import Callable
from typing import Any

from mlx_lm.tool_parsers.gemma4 import parse_tool_call

from services.runner.engine.calls.families.gemma_grammar import gemma_grammar
from services.runner.engine.calls.reading import Section, resumed
from services.runner.engine.calls.syntax import Syntax
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.values import argument, json_of
from services.runner.engine.calls.writing import Arguments, Calls, inside

QUOTE = '<|"|>'
_CALL = "call:"
_ANY: frozenset[str] = frozenset()


def value(raw: str) -> Any:
    return argument(lambda call, _: parse_tool_call(call), f"call:f{{k:{raw}}}", _ANY)


def section(quote: str, value: Callable[[str], Any]) -> Section:
    """``value`` is what a value that is no string means."""

    def read(text: Text, calls: Calls) -> Steps[None]:
        while True:
            yield from text.before(_CALL)
            text.expect()
            text.take(len(_CALL))
            name, _ = yield from text.upto("{")
            if not name.strip():
                raise Malformed
            text.found()
            calls.begin(name.strip())
            yield from _arguments(text, Arguments(calls), quote, value)

    return read


def _arguments(
    text: Text, arguments: Arguments, quote: str, value: Callable[[str], Any]
) -> Steps[None]:
    while (first := (yield from text.skip_space())) != "}":
        if first == ",":
            text.take(1)
            continue
        key, _ = yield from text.upto(":")
        arguments.key(key.replace(quote, "").strip())
        yield from text.skip_space()
        if (yield from text.peek(len(quote))) == quote:
            yield from _string(text, arguments, quote)
        else:
            raw = yield from _literal(text, quote)
            arguments.write(json_of(value, raw))
    text.take(1)
    arguments.close()


def _string(text: Text, arguments: Arguments, quote: str) -> Steps[None]:
    text.take(len(quote))
    arguments.write('"')
    yield from text.stream(quote, lambda piece: arguments.write(inside(piece)))
    arguments.write('"')


def _literal(text: Text, quote: str) -> Steps[str]:
    """A value that is no string, up to what ends it."""
    pieces: list[str] = []
    depth = 0
    while True:
        before, mark = yield from text.upto(quote, *"{}[],")
        pieces.append(before)
        if mark == quote:
            inner, _ = yield from text.upto(quote)
            pieces.append(f"{quote}{inner}{quote}")
            continue
        if not depth and mark in ",}":
            text.back(mark)
            return "".join(pieces)
        depth += (mark in "{[") - (mark in "}]")
        pieces.append(mark)


SYNTAX = Syntax(
    section=lambda _: resumed(section(QUOTE, value)),
    grammar=gemma_grammar(QUOTE),
)
