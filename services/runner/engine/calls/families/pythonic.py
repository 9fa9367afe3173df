"""``[f(k="value", n=2), g()]``: calls as Python writes them. LFM2 and others.

Some checkpoints write a list of JSON objects instead, which is read too.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from mlx_lm.tool_parsers.pythonic import parse_tool_call

from proto.prompt import Tool, ToolCall
from services.runner.engine.calls.json_calls import read_object
from services.runner.engine.calls.json_text import is_object
from services.runner.engine.calls.lark import KEY, Rules, refusal
from services.runner.engine.calls.python_text import python_string
from services.runner.engine.calls.schema import Parameters, Schema
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.values import argument, json_of
from services.runner.engine.calls.writing import Arguments, Calls, written

_PLAIN = re.compile(r"[^\"'()\[\]{},]+")
_ANY: frozenset[str] = frozenset()


def read(text: Text, calls: Calls) -> Steps[None]:
    yield from text.upto("[")
    while (first := (yield from text.skip_space())) != "]":
        if first == ",":
            text.take(1)
        elif first == "{":
            yield from read_object(text, calls)
        else:
            yield from _call(text, calls)


def _call(text: Text, calls: Calls) -> Steps[None]:
    text.expect()
    name, _ = yield from text.upto("(")
    if not name.strip():
        raise Malformed
    text.found()
    calls.begin(name.strip())
    arguments = Arguments(calls)
    while (first := (yield from text.skip_space())) != ")":
        if first == ",":
            text.take(1)
            continue
        key, _ = yield from text.upto("=")
        arguments.key(key.strip())
        yield from _value(text, arguments)
    text.take(1)
    arguments.close()


def _value(text: Text, arguments: Arguments) -> Steps[None]:
    first = yield from text.skip_space()
    if first not in "\"'":
        raw = yield from _literal(text)
        arguments.write(json_of(_parse, raw))
        return
    arguments.write('"')
    while first in "\"'":  # Python joins literals that follow one another.
        yield from python_string(text, arguments.write)
        first = yield from text.skip_space()
    arguments.write('"')
    if first not in ",)":
        raise Malformed


def _literal(text: Text) -> Steps[str]:
    """A value that is no string, up to what ends it."""
    pieces: list[str] = []
    depth = 0
    while True:
        pieces.append((yield from text.some(_PLAIN)))
        first = yield from text.peek()
        if first in "\"'":
            pieces.append('"')
            yield from python_string(text, pieces.append)
            pieces.append('"')
            continue
        if not depth and first in ",)":
            return "".join(pieces)
        depth += (first in "([{") - (first in ")]}")
        pieces.append(text.take(1))


def _parse(raw: str) -> Any:
    """The parser guesses where a value is no literal; then it is better taken as it stands."""
    value = argument(lambda call, _: parse_tool_call(call), f"[f(k={raw})]", _ANY)
    return raw.strip() if isinstance(value, str) else value


def _grammar(rules: Rules, wanted: Wanted) -> str:
    call = rules.any_of(_call_rule(rules, tool) for tool in wanted.tools)
    calls = rules.many(call, rules.text(", ")) if wanted.parallel else call
    return rules.rule(rules.text(f"{wanted.start}["), calls, rules.text(f"]{wanted.end}"))


def _call_rule(rules: Rules, tool: Tool) -> str:
    parameters = Parameters(tool)
    _check(tool, tool.name, "(")
    items = []
    for name in parameters.names:
        _check(tool, name, "=")
        value = _value_rule(rules, tool, parameters.schema(name), parameters.types(name))
        items.append((rules.rule(rules.text(f"{name}="), value), name in parameters.required))
    comma = rules.text(", ")
    arguments = rules.listed(items, comma)
    if parameters.are_open:  # Then all that is named is required.
        other = rules.rule(KEY, rules.text("="), _value_rule(rules, tool, {}))
        others = f"({comma} {other})*" if items else rules.many(other, comma, least=0)
        arguments = rules.rule(arguments, others)
    return rules.rule(rules.text(f"{tool.name}("), arguments, rules.text(")"))


def _value_rule(
    rules: Rules, tool: Tool, schema: Schema, types: frozenset[str] = frozenset()
) -> str:
    """JSON, with the escapes that mean the same in Python; on the top Python's words, too."""
    forms = [rules.json(tool, schema, json_allowed_escapes='nrbtf\\"')]
    forms += [rules.text("True"), rules.text("False")] if "boolean" in types else []
    forms += [rules.text("None")] if "null" in types else []
    return f"({' | '.join(forms)})"


def _check(tool: Tool, name: str, end: str) -> None:
    if not name or name != name.strip() or end in name or name[0] in "{[]),":
        raise refusal(tool, f"the name {name!r} has no form in this model's syntax")


def _written(calls: Sequence[ToolCall]) -> str:
    return f"[{', '.join(map(_call_text, calls))}]"


def _call_text(call: ToolCall) -> str:
    arguments = json.loads(call.arguments) if is_object(call.arguments) else {}
    inner = ", ".join(f"{key}={_literal_text(value)}" for key, value in arguments.items())
    return f"{call.name}({inner})"


def _literal_text(value: Any) -> str:
    """Python's words on the top, JSON within, as models are trained."""
    return repr(value) if value is None or isinstance(value, bool) else written(value)


SYNTAX = Syntax(section=lambda _: read, grammar=_grammar, written=_written)
