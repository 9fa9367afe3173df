"""From a conversation with pictures to tokens, and where the pictures are among them."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.prompt import Chat, TextPart, Turn
from services.runner.engine.vision.picture import Picture
from services.runner.engine.vision.sight import Sight, sight

if TYPE_CHECKING:
    from services.runner.engine.vision.eyes import Eyes

Render = Callable[[Chat, bool], str]
"""A chat by the model's template; the flag says whether pictures are written into its text."""

VEIL = "\U000f5ee5"
"""Of private use: stands for a picture's mark that somebody wrote as text."""


def tokens_and_sight(
    chat: Chat, pictures: Sequence[Picture], eyes: "Eyes", render: Render
) -> tuple[list[int], Sight]:
    """``pictures`` are the chat's, in its order. Raises MeshError."""
    pieces = _around(chat, eyes.mark, len(pictures), render)
    text, places = pieces[0], []
    for picture, after in zip(pictures, pieces[1:], strict=True):
        places.append((len(text), len(text) + len(picture.text)))
        text += picture.text + after
    encoded = eyes.encode(text)
    ids, starts = encoded.ids, [start for start, _ in encoded.offsets]
    shown = []
    for picture, (begin, end) in zip(pictures, places, strict=True):
        span = range(bisect_left(starts, begin), bisect_left(starts, end))
        patches = np.array([at for at in span if ids[at] == eyes.patch], np.int32)
        if len(patches) != len(picture.patches):
            raise MeshError(Code.INTERNAL, "a picture's patches are not found in its prompt")
        shown.append((patches, picture))
    return ids, sight(ids, shown, eyes.has_grid)


def _around(chat: Chat, mark: str, count: int, render: Render) -> list[str]:
    """The rendered text between the pictures: one piece more than there are pictures."""
    veiled = replace(chat, turns=tuple(_veiled(turn, mark) for turn in chat.turns))
    for is_spelled in (False, True):
        try:
            pieces = render(veiled, is_spelled).split(mark)
        except MeshError:
            if is_spelled:
                raise
        else:
            if len(pieces) == count + 1:
                return [piece.replace(VEIL, mark) for piece in pieces]
    raise MeshError(
        Code.INVALID_REQUEST,
        "the model's chat template does not show all images of this conversation: "
        "send images in messages of the user",
        param="messages",
    )


def _veiled(turn: Turn, mark: str) -> Turn:
    """Words that look like a picture are words."""
    if isinstance(turn.content, str):
        return replace(turn, content=turn.content.replace(mark, VEIL))
    parts = (
        replace(part, text=part.text.replace(mark, VEIL)) if isinstance(part, TextPart) else part
        for part in turn.content
    )
    return replace(turn, content=tuple(parts))
