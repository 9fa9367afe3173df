"""``[TOOL_CALLS]f[ARGS]{...}``, or a JSON list of calls: Mistral, Devstral, Ministral.

A section lasts to the end of the answer; each further call has the marker again.
"""

import re

from services.runner.engine.calls.families.json_tools import read_arguments, read_object
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls

MARKER = "[TOOL_CALLS]"
ARGUMENTS = "[ARGS]"
_ID = "[CALL_ID]"
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
