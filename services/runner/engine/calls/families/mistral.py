"""``[TOOL_CALLS]f[ARGS]{...}``, or a JSON list of calls: Mistral, Devstral, Ministral.

A section lasts to the end of the answer; each further call has the marker again.
"""

import hashlib
import re

from proto.prompt import Tool
from services.runner.engine.calls.json_calls import (
    call_rule,
    read_arguments,
    read_object,
)
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls

MARKER = "[TOOL_CALLS]"
ARGUMENTS = "[ARGS]"
_ID = "[CALL_ID]"
_NEW_ID = "/[a-zA-Z0-9]{9}/"
_NAME = re.compile(r"[\w.-]+\s*$")


def read(text: Text, calls: Calls) -> Steps[None]:
    while True:
        first = yield from text.skip_space()
        if first == "{":
            yield from read_object(text, calls)
        elif first == ",":
            text.take(1)
        elif first == "]":
            return
        elif first == "[":
            ahead = yield from text.peek(len(MARKER))
            text.take(len(MARKER) if ahead == MARKER else 1)
        else:
            yield from _headed(text, calls)


def _headed(text: Text, calls: Calls) -> Steps[None]:
    text.expect()
    head, _ = yield from text.upto(ARGUMENTS)
    name, _, id = head.partition(_ID)
    found = _NAME.search(name)
    if found is None:
        raise Malformed
    text.found()
    calls.begin(found.group().strip(), id.strip())
    yield from read_arguments(text, calls)


def _grammar(rules: Rules, wanted: Wanted) -> str:
    """A list of objects or heads with arguments: which one, the model knows from its training."""
    before, after = rules.text(', "id": "'), rules.text('"')
    id = f"({before} {_NEW_ID} {after})?"
    listed = rules.any_of(call_rule(rules, tool, id) for tool in wanted.tools)
    forms = [_together(rules, wanted, rules.text("["), listed, rules.text(", "), rules.text("]"))]
    named = [tool for tool in wanted.tools if _NAME.fullmatch(tool.name)]
    if named:
        headed = rules.any_of(_headed_call(rules, tool) for tool in named)
        forms.append(_together(rules, wanted, '""', headed, rules.text(MARKER), '""'))
    return rules.rule(rules.text(MARKER), f"({' | '.join(forms)})")


def _together(rules: Rules, wanted: Wanted, start: str, call: str, between: str, end: str) -> str:
    return rules.rule(start, rules.many(call, between) if wanted.parallel else call, end)


def _headed_call(rules: Rules, tool: Tool) -> str:
    id = f"({rules.text(_ID)} {_NEW_ID})?" if rules.is_token(_ID) else '""'
    name, arguments = rules.text(tool.name), rules.arguments(tool)
    return rules.rule(name, id, rules.text(ARGUMENTS), arguments)


def _nine_letters(id: str, _name: str, _number: int) -> str:
    """Templates insist on ids of this form; of another id the same one every time."""
    is_fine = len(id) == 9 and id.isascii() and id.isalnum()
    return id if is_fine else hashlib.sha256(id.encode()).hexdigest()[:9]


SYNTAX = Syntax(section=lambda _: read, grammar=_grammar, id=_nine_letters)
