"""Calls that are JSON objects: ``{"name": "f", "arguments": {...}}``.

Most families write their arguments so, and many fall back to the whole form.
"""

import json

from proto.prompt import Tool, ToolCall
from services.runner.engine.calls.json_text import is_object, json_string, json_value, mended
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.text import Ended, Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls, written

_NAMES = ("name", "function", "tool")
_ARGUMENTS = ("arguments", "parameters")


def read_objects(text: Text, calls: Calls) -> Steps[None]:
    while True:
        yield from text.before("{")
        yield from read_object(text, calls)


def read_object(text: Text, calls: Calls) -> Steps[None]:
    """One call, from its brace on."""
    text.expect()
    head = _Head()
    yield from _members(text, calls, head)
    if head.is_begun:
        return
    if not head.name:
        raise Malformed
    text.found()
    calls.begin(head.name, head.id)
    calls.write(head.arguments)


def read_arguments(text: Text, calls: Calls) -> Steps[None]:
    """The arguments of the last call, as they come. Malformed where no JSON begins."""
    if (yield from text.skip_space()) == "{":
        yield from json_value(text, calls.write)
    else:
        calls.write((yield from _whole_arguments(text)))


class _Head:
    """What of a call is known before it can be said."""

    def __init__(self) -> None:
        self.name = ""
        self.id = ""
        self.arguments = "{}"
        self.is_begun = False


def _members(text: Text, calls: Calls, head: _Head) -> Steps[None]:
    text.take(1)
    while True:
        first = yield from text.skip_space()
        if first == ",":
            text.take(1)
        elif first == "}":
            text.take(1)
            return
        elif first in "\"'":
            yield from _member(text, calls, head)
        else:
            raise Malformed


def _member(text: Text, calls: Calls, head: _Head) -> Steps[None]:
    key = yield from json_string(text)
    if (yield from text.skip_space()) != ":":
        raise Malformed
    text.take(1)
    first = yield from text.skip_space()
    if key in _NAMES and first in "\"'":
        head.name = yield from json_string(text)
    elif key in _NAMES and first == "{":
        yield from _members(text, calls, head)
    elif key == "id" and first in "\"'":
        head.id = yield from json_string(text)
    elif key not in _ARGUMENTS or head.is_begun:
        yield from json_value(text, _ignore)
    elif head.name:
        text.found()
        calls.begin(head.name, head.id)
        head.is_begun = True
        yield from read_arguments(text, calls)
    else:
        head.arguments = yield from _whole_arguments(text)


def _whole_arguments(text: Text) -> Steps[str]:
    """Arguments that do not begin as an object, or whose call has no name yet."""
    pieces: list[str] = []
    yield from json_value(text, pieces.append)
    source = "".join(pieces)
    if source == "null":
        return "{}"
    return _unpacked(source) if source.startswith('"') else source


def _unpacked(source: str) -> str:
    """Arguments as JSON within a JSON string; the string itself when no object is in it."""
    content = str(json.loads(source)).strip()
    if not content:
        return "{}"
    if is_object(content):
        return content
    try:
        content = mended(content)
    except (Ended, Malformed):
        return source
    return content if is_object(content) else source


def _ignore(_: str) -> None:
    pass


def json_call(call: ToolCall) -> str:
    """A call of an earlier turn; its arguments as they were said, if that is any JSON."""
    arguments = call.arguments if is_object(call.arguments) else written(call.arguments or {})
    return f'{{"name": {written(call.name)}, "arguments": {arguments}}}'


def call_rule(rules: Rules, tool: Tool, *more: str) -> str:
    """One call as an object; ``more`` is what may follow the arguments in it."""
    head = f'{{"name": {written(tool.name)}, "arguments": '
    return rules.rule(rules.text(head), rules.arguments(tool), *more, rules.text("}"))
