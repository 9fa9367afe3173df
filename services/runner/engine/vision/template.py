"""How a model's chat template takes pictures, found out by trying it.

Some templates want every content as a list of parts and show nothing of a string, some
want strings and know no pictures, and some know pictures in a user's turn only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from proto.prompt import TextPart, Turn

Content = str | list[dict[str, str]]
Render = Callable[[list[dict[str, Any]]], str]
"""Messages to text, ending where an answer begins."""

_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True)
class Manner:
    takes_strings: bool
    takes_parts: bool
    spelled: str
    """What the template writes for a picture; where it writes none, the text does."""

    def content(self, turn: Turn, is_spelled: bool = False) -> Content:
        """A turn's content for the template; ``is_spelled``: pictures are written by us."""
        if turn.images and self.takes_parts and not is_spelled:
            return _parts(turn)
        if isinstance(turn.content, str):
            return turn.content
        return "".join(
            part.text if isinstance(part, TextPart) else self.spelled for part in turn.content
        )

    def fitted(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages for a template that shows nothing of a string have none."""
        if self.takes_strings:
            return messages
        return [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            if isinstance(message["content"], str)
            else message
            for message in messages
        ]


def manner(render: Render, mark: str) -> Manner:
    parts: Content = [
        {"type": "text", "text": _BEFORE},
        {"type": "image"},
        {"type": "text", "text": _AFTER},
    ]
    shown = _tried(render, parts)
    takes_parts = shown.count(mark) == 1 and _BEFORE in shown and _AFTER in shown
    spelled = shown.partition(_BEFORE)[2].partition(_AFTER)[0]
    return Manner(
        takes_strings=_BEFORE in _tried(render, _BEFORE),
        takes_parts=takes_parts,
        spelled=spelled if takes_parts and mark in spelled else mark,
    )


def _tried(render: Render, content: Content) -> str:
    try:
        return render([{"role": "user", "content": content}])
    except (TemplateError, ValueError, TypeError, KeyError):
        return ""


def _parts(turn: Turn) -> Content:
    assert not isinstance(turn.content, str), "a turn with pictures is made of parts"
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
        for part in turn.content
    ]
