"""Values that come as text, turned into JSON by mlx-lm's parsers."""

import re
from collections.abc import Callable
from typing import Any

from services.runner.engine.calls.text import Malformed
from services.runner.engine.calls.writing import inside, written

Parse = Callable[[str, Any], Any]
"""An mlx-lm ``parse_tool_call``."""
_HOLD = 9
"""A shorter text may still become something else, such as ``null`` or ``<![CDATA[``."""
_PATIENCE = 64
"""A text that is no beginning of its own value after so many characters will not become one."""
_SPACE = re.compile(r"\s*$")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""In JSON, however large."""
_UNPARSABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


def argument(parse: Parse, call: str, types: frozenset[str], *, is_known: bool = True) -> Any:
    """The only argument of a call, by a parser of mlx-lm.

    The parser is told the plainest type that covers ``types``. The argument
    must be named ``k`` and the function ``f``. Raises what parsers raise.
    """
    schemas = {"k": _plain(types)} if is_known else {}
    function = {"name": "f", "parameters": {"type": "object", "properties": schemas}}
    calls = parse(call, [{"type": "function", "function": function}])
    first = calls[0] if isinstance(calls, list) else calls
    return first["arguments"]["k"]


def json_of(parse: Callable[[str], Any], raw: str) -> str:
    """What ``parse`` makes of the text, as JSON; the text itself where that is nothing."""
    try:
        return written(parse(raw))
    except _UNPARSABLE:
        text = raw.strip()
        return text if _NUMBER.fullmatch(text) else written(text)


def are_text(types: frozenset[str]) -> bool:
    return "string" in types and types <= {"string", "null"}


def _plain(types: frozenset[str]) -> dict[str, str]:
    if are_text(types):
        return {"type": "string"}
    if not types:
        return {"description": ""}  # Said to be there, and nothing of its type.
    rest = types - {"null"} or types
    if rest == {"integer", "number"}:
        return {"type": "number"}
    # JSON first, then as it stands: that is what the parsers do for objects.
    return {"type": next(iter(rest)) if len(rest) == 1 else "object"}


class TextValue:
    """A text whose end is not known yet, written as a JSON string as far as it is certain.

    ``json_of`` has the last word; what is written early is always a beginning
    of what it says in the end, or the end is Malformed. ``streams`` tells of
    the text's beginning whether it can be a text at all; ``tail`` matches what
    at its end may not belong to it.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        json_of: Callable[[str], str],
        *,
        streams: Callable[[str], bool],
        tail: re.Pattern[str] = _SPACE,
    ) -> None:
        self._write = write
        self._json_of = json_of
        self._may_begin = streams
        self._streams = True
        self._tail = tail
        self._raw: list[str] = []
        self._said: list[str] = []
        self._pending = ""

    def push(self, piece: str) -> None:
        self._raw.append(piece)
        if not self._streams:
            return
        self._pending += piece
        tail = self._tail.search(self._pending)
        certain = self._pending[: tail.start()] if tail else self._pending
        said = inside(certain) if self._said else self._beginning(certain)
        if said:
            self._say(said)
            self._pending = self._pending[len(certain) :]

    def end(self) -> None:
        whole, said = self._json_of("".join(self._raw)), "".join(self._said)
        if not whole.startswith(said):
            raise Malformed
        self._write(whole[len(said) :])

    def _beginning(self, certain: str) -> str:
        if len(certain) <= _HOLD:
            return ""
        begun = self._json_of(certain)[:-1] if self._may_begin(certain.lstrip()) else ""
        if begun.startswith('"') and len(begun) > _HOLD + 1 and inside(certain).endswith(begun[1:]):
            return begun
        self._streams = bool(begun) and len(certain) <= _PATIENCE
        return ""

    def _say(self, piece: str) -> None:
        self._said.append(piece)
        self._write(piece)
