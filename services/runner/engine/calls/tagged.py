"""Calls whose arguments stand between tags, one by one: what those families have in common."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proto.prompt import Tool
from services.runner.engine.calls.json_calls import read_arguments
from services.runner.engine.calls.schema import Parameters
from services.runner.engine.calls.text import Ended, Malformed, Steps, Text
from services.runner.engine.calls.values import Parse, TextValue, are_text, argument, json_of
from services.runner.engine.calls.writing import Arguments, Calls, written


def unquoted(head: str) -> str:
    """A name out of a tag, with or without quotes."""
    name = head.strip()
    is_quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1] if is_quoted else name


@dataclass(frozen=True, kw_only=True)
class Tags:
    """How a family writes a call. Heads are what stands between a tag and the end of its name."""

    call: str = ""
    """Begins a call; empty where a section is one call and begins with its head."""
    call_head_end: str = ""
    """Empty where the head goes on to the first argument."""
    call_end: str = ""
    """Empty where the section's end is the call's."""
    argument: str
    argument_head_end: str
    argument_end: str
    name: Callable[[str], str] = unquoted
    key: Callable[[str], str] = unquoted
    types: Callable[[str, frozenset[str]], frozenset[str]] = lambda _, declared: declared
    """An argument's types by its head and its schema."""
    block: str = ""
    """Begins the head of all arguments as one JSON object, where a family has that."""
    parse: Parse
    sample: str
    """A whole call of ``f`` for the parser, with one argument ``k`` whose value is ``{}``."""
    tail: re.Pattern[str] = re.compile(r"\s*$")
    streams: Callable[[str], bool] = lambda _: True
    """Whether a text that begins so can be written as it comes."""
    completed: Callable[[str], str] = lambda raw: raw
    """The beginning of a value as the parser would read it, were it the whole."""

    # How the family's template lays a call out, for grammars
    call_form: str
    """A call up to its first argument, with ``{}`` for the name."""
    argument_form: str
    """An argument up to its value, with ``{}`` for its name."""
    gap: str = "\n"
    """What may stand between two tags."""
    holds_many: bool = False
    """A section may hold several calls."""
    is_verbatim: bool = False
    """A text is neither trimmed nor ever taken for null."""

    def json_of(self, raw: str, types: frozenset[str], *, is_known: bool) -> str:
        def parse(raw: str) -> Any:
            if "null" in types and raw.strip() == "null":
                return None
            call = self.sample.replace("{}", self.completed(raw))
            value = argument(self.parse, call, types, is_known=is_known)
            is_misread = are_text(types) and value is not None and not isinstance(value, str)
            return raw.strip() if is_misread else value

        return json_of(parse, raw)


Plain = Callable[[str], tuple[str, Any]]
"""Name and arguments out of a whole section in which no argument is tagged."""


class TaggedReader:
    """Reads sections of calls of the tools given."""

    def __init__(
        self, tags: Tags, tools: Sequence[Tool], plain: Plain = lambda head: (head, {})
    ) -> None:
        self._tags = tags
        self._plain = plain
        self._tools = {tool.name: Parameters(tool) for tool in tools}

    def read(self, text: Text, calls: Calls) -> Steps[None]:
        tags = self._tags
        if not tags.call:
            yield from self._call(text, calls)
            return
        while True:
            yield from text.before(tags.call)
            text.expect()
            text.take(len(tags.call))
            yield from self._call(text, calls)

    def _call(self, text: Text, calls: Calls) -> Steps[None]:
        tags = self._tags
        try:
            if tags.call_head_end:
                head, _ = yield from text.upto(tags.call_head_end)
            else:
                head = yield from text.before(tags.argument)
        except Ended:
            if tags.call_head_end or text.is_cut:
                raise
            self._plain_call(text, calls)
            return
        self._begin(text, calls, tags.name(head))
        yield from self.arguments(text, calls, tags.name(head))

    def _plain_call(self, text: Text, calls: Calls) -> None:
        name, arguments = self._plain(text.rest())
        self._begin(text, calls, name.strip())
        calls.write(written(arguments))

    def _begin(self, text: Text, calls: Calls, name: str) -> None:
        if not name:
            raise Malformed
        text.found()
        calls.begin(name)

    def arguments(self, text: Text, calls: Calls, name: str) -> Steps[None]:
        """The arguments of the last call, and its end."""
        tags, arguments = self._tags, Arguments(calls)
        marks = list(filter(None, (tags.argument, tags.call_end, tags.call, tags.block)))
        while True:
            try:
                _, mark = yield from text.upto(*marks)
            except Ended:
                if text.is_cut:
                    raise
                mark = ""  # The model forgot the call's end, or there is none.
            if mark == tags.argument:
                yield from self._argument(text, arguments, self._tools.get(name))
                continue
            if mark == tags.block and mark:
                yield from text.upto(tags.argument_head_end)
                yield from read_arguments(text, calls)
                return
            arguments.close()
            if mark == tags.call:
                text.back(mark)
            return

    def _argument(
        self, text: Text, arguments: Arguments, parameters: Parameters | None
    ) -> Steps[None]:
        tags = self._tags
        head, _ = yield from text.upto(tags.argument_head_end)
        key = tags.key(head)
        if not key:
            raise Malformed
        types = tags.types(head, parameters.types(key) if parameters else frozenset())
        is_known = bool(types) or (parameters is not None and key in parameters.schemas)
        arguments.key(key)
        value = TextValue(
            arguments.write,
            lambda raw: tags.json_of(raw, types, is_known=is_known),
            streams=tags.streams if are_text(types) else lambda _: False,
            tail=tags.tail,
        )
        yield from text.stream(tags.argument_end, value.push)
        value.end()
