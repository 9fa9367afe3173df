"""What a reader says: calls, piece by piece, with arguments as JSON."""

import json
import re
from hashlib import blake2b
from typing import Any, NamedTuple

from proto.ids import RequestId

UNREADABLE = "unreadable_call"
"""The name of a call that nobody could make out. Its arguments are an object with one ``text``,
what the model wrote: a client answers it like any call of a tool that it does not have, and the
model sees what it did wrong."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class CallText(NamedTuple):
    """What a piece of generated text added to a call."""

    call: int
    """The place of the call in the answer, from 0, over all sections."""
    id: str
    """With a call's first CallText, else empty."""
    name: str
    """With a call's first CallText, else empty."""
    arguments: str
    """The next piece of the arguments' JSON."""


class Calls:
    """The calls of an answer so far, and what of them was not yet handed over."""

    def __init__(self, request: RequestId) -> None:
        self._request = request
        self.begun = 0
        self._names: dict[int, tuple[str, str]] = {}
        self._pieces: dict[int, list[str]] = {}

    def begin(self, name: str, id: str = "") -> None:
        self._names[self.begun] = id or self._next_id(), name
        self._pieces[self.begun] = []
        self.begun += 1

    def _next_id(self) -> str:
        """The same from whichever engine goes on with the answer."""
        place = f"{self._request}/{self.begun}".encode()
        return f"call_{blake2b(place, digest_size=12).hexdigest()}"

    def write(self, arguments: str) -> None:
        """The next piece of the last call's arguments."""
        if arguments:
            self._pieces.setdefault(self.begun - 1, []).append(arguments)

    def give_up(self, text: str) -> None:
        """Report a call of which not even the name could be read."""
        self.begin(UNREADABLE)
        self.write(written({"text": text.strip()}))

    def take(self) -> list[CallText]:
        """What was said since the last time, at most one for each call."""
        said = [
            CallText(call, *self._names.get(call, ("", "")), "".join(pieces))
            for call, pieces in self._pieces.items()
        ]
        self._names.clear()
        self._pieces.clear()
        return said


class Arguments:
    """The last call's arguments, where they come one by one and not as JSON."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._is_empty = True

    def key(self, key: str) -> None:
        self._calls.write(f"{'{' if self._is_empty else ', '}{written(key)}: ")
        self._is_empty = False

    def write(self, piece: str) -> None:
        """The next piece of the last key's value, in JSON."""
        self._calls.write(piece)

    def close(self) -> None:
        self._calls.write("{}" if self._is_empty else "}")


def written(value: Any) -> str:
    """As JSON. ValueError or TypeError where JSON has no such value."""
    return _SURROGATE.sub(_escaped, json.dumps(value, ensure_ascii=False, allow_nan=False))


def inside(text: str) -> str:
    """The text as it stands within a JSON string: of two texts joined, both results joined."""
    return written(text)[1:-1]


def _escaped(surrogate: re.Match[str]) -> str:
    return f"\\u{ord(surrogate.group()):04x}"
