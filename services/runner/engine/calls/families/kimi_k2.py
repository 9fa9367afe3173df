"""``<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>``: Kimi K2.

The words before the arguments are the call's id.
"""

import re

from proto.prompt import Tool
from services.runner.engine.calls.json_calls import read_arguments
from services.runner.engine.calls.lark import Rules, refusal
from services.runner.engine.calls.reading import resumed
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls

BEGIN = "<|tool_call_begin|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
END = "<|tool_call_end|>"
_OWN_ID = re.compile(r"functions\..+:\d+")
_NUMBER = "/[0-9]{1,4}/"
_ID = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?", re.DOTALL)


def read(text: Text, calls: Calls) -> Steps[None]:
    while True:
        id = (yield from _id(text)).strip()
        found = _ID.fullmatch(id)
        if found is None:
            raise Malformed
        text.found()
        calls.begin(found[1], id)
        if (yield from text.skip_space()) == "<":
            calls.write("{}")
        else:
            yield from read_arguments(text, calls)


def _id(text: Text) -> Steps[str]:
    before, mark = yield from text.upto(BEGIN, ARGUMENTS)
    if mark == BEGIN:
        text.back(BEGIN)
        text.expect()
        text.take(len(BEGIN))
        before, _ = yield from text.upto(ARGUMENTS)
    return before


def _grammar(rules: Rules, wanted: Wanted) -> str:
    call = rules.any_of(_call(rules, tool) for tool in wanted.tools)
    calls = rules.many(call, '""') if wanted.parallel else call
    return rules.rule(rules.text(wanted.start), calls, rules.text(wanted.end))


def _call(rules: Rules, tool: Tool) -> str:
    found = _ID.fullmatch(f"functions.{tool.name}:0")
    if found is None or found[1] != tool.name:
        raise refusal(tool, "its name has no form in this model's syntax")
    head = rules.text(f"{BEGIN}functions.{tool.name}:")
    return rules.rule(head, _NUMBER, rules.text(ARGUMENTS), rules.arguments(tool), rules.text(END))


def _own_id(id: str, name: str, number: int) -> str:
    """Ids of others are told as the model would have said them: it goes by them."""
    return id if _OWN_ID.fullmatch(id) else f"functions.{name}:{number}"


SYNTAX = Syntax(section=lambda _: resumed(read), grammar=_grammar, id=_own_id)
