"""Tools with free text as their input, for models that write JSON arguments.

Such a tool is shown to the model as a function with the one argument ``input``; what the model
writes is read as it comes, so that the client gets the text and not its JSON.
"""

import json
import re
from typing import Any

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_OPENING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_WHOLE = re.compile(
    r"""(?:
        [^"\\]
      | \\u(?!d[89ab])[0-9a-f]{4}
      | \\ud[89ab][0-9a-f]{2}(?:\\u[0-9a-f]{4}|(?=[^\\]|\\[^u]))
      | \\[^u]
    )*""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""As much of a JSON string as can be decoded on its own: no escape is cut, no pair parted."""


def wrapped(text: str) -> str:
    """The arguments that a model would have written for this input."""
    return json.dumps({"input": text}, ensure_ascii=False)


class Freeform:
    """Arguments in pieces, in; the text of ``input`` in pieces, out."""

    def __init__(self) -> None:
        self._arguments = ""
        self._rest = ""
        """What follows the opening and is not decoded yet."""
        self._is_inside = False
        self._said: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._said)

    def add(self, piece: str) -> str:
        """The text that has become clear."""
        self._arguments += piece
        if self._is_inside:
            self._rest += piece
            return self._decode()
        opening = _OPENING.match(self._arguments)
        if opening is None:
            return ""
        self._is_inside = True
        self._rest = self._arguments[opening.end() :]
        return self._decode()

    def end(self) -> str:
        """What is left to tell: all of it, where the model kept to no form that could be read."""
        if self._is_inside:
            return ""
        text = _only_string(self._arguments)
        self._said.append(text)
        return text

    def _decode(self) -> str:
        clear = _WHOLE.match(self._rest)
        assert clear is not None, "it matches the empty text"
        self._rest = self._rest[clear.end() :]
        try:
            text: str = json.loads(f'"{clear[0]}"', strict=False)
        except ValueError:
            # An escape that JSON does not have: as it was written.
            text = clear[0]
        text = text.encode(errors="replace").decode()
        self._said.append(text)
        return text


def _only_string(arguments: str) -> str:
    """The one string among the arguments, whatever the model called it; else all as it stands."""
    try:
        said = json.loads(arguments)
    except ValueError:
        return arguments
    if isinstance(said, dict) and len(said) == 1:
        (said,) = said.values()
    return said if isinstance(said, str) else arguments
