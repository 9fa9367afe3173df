"""What every family says of itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proto.prompt import Tool, ToolCall
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.reading import Section


@dataclass(frozen=True)
class Wanted:
    """What a grammar is asked for."""

    tools: Sequence[Tool]
    start: str
    """Begins a section."""
    end: str
    parallel: bool
    """One call or more, not just one."""


@dataclass(frozen=True)
class Syntax:
    section: Callable[[Sequence[Tool]], Section]
    """How a section of calls of these tools is read."""
    grammar: Callable[[Rules, Wanted], str]
    """The rule of all calls of an answer."""
    id: Callable[[str, str, int], str] = lambda id, _name, _number: id
    """A call's id as its template wants it, by the id, the name and its number in the prompt."""
    written: Callable[[Sequence[ToolCall]], str] | None = None
    """The content of a section, for templates that write no calls. None: as json_tools does."""
