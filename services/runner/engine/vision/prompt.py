"""From a conversation with pictures to tokens, and where the pictures are among them."""

from bisect import bisect_left
from collections.abc import Sequence

from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.inference import Chat, TextPart, Turn
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prompt import rendered
from services.runner.engine.vision.picture import Picture
from services.runner.engine.vision.sight import Sight, sight

VEIL = "\U000f5ee5"
"""Of private use: stands for a picture's mark that somebody wrote as text."""


def tokens_and_sight(
    chat: Chat, pictures: Sequence[Picture], model: LoadedModel
) -> tuple[list[int], Sight]:
    """``pictures`` are the chat's, in its order. Raises MeshError."""
    eyes = model.eyes
    assert eyes is not None, "only a model that sees is given pictures"
    pieces = _around(chat, eyes.mark, len(pictures), model)
    text, places = pieces[0], []
    for picture, after in zip(pictures, pieces[1:], strict=True):
        places.append((len(text), len(text) + len(picture.text)))
        text += picture.text + after
    encoded = eyes.encode(text)
    starts = [start for start, _ in encoded.offsets]
    spans = []
    for picture, (begin, end) in zip(pictures, places, strict=True):
        first = bisect_left(starts, begin)
        if encoded.ids[first : bisect_left(starts, end)] != picture.tokens:
            raise MeshError(Code.INTERNAL, "a picture's tokens are not found again in the prompt")
        spans.append((first, picture))
    return encoded.ids, sight(encoded.ids, spans, eyes.has_grid)


def _around(chat: Chat, mark: str, count: int, model: LoadedModel) -> list[str]:
    """The rendered text between the pictures: one piece more than there are pictures."""
    veiled = replace(chat, turns=tuple(_veiled(turn, mark) for turn in chat.turns))
    for is_spelled in (False, True):
        pieces = rendered(veiled, model, is_spelled).split(mark)
        if len(pieces) == count + 1:
            return [piece.replace(VEIL, mark) for piece in pieces]
    raise MeshError(
        Code.INVALID_REQUEST,
        f"the chat template of {model.card.id} does not show all images of this conversation: "
        "send images in messages of the user",
        param="messages",
    )


def _veiled(turn: Turn, mark: str) -> Turn:
    """Words that look like a picture are words."""
    if isinstance(turn.content, str):
        return replace(turn, content=turn.content.replace(mark, VEIL))
    parts = (
        TextPart(text=part.text.replace(mark, VEIL)) if isinstance(part, TextPart) else part
        for part in turn.content
    )
    return replace(turn, content=tuple(parts))
