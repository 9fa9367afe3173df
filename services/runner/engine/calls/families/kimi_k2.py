"""``<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>``: Kimi K2.

The words before the arguments are the call's id.
"""

import re

from services.runner.engine.calls.families.json_tools import read_arguments
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls

BEGIN = "<|tool_call_begin|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
END = "<|tool_call_end|>"
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
