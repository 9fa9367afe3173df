"""What an upstream's answer is made of, whatever it speaks."""

from msgspec import Struct

from proto.frames import Cause, PositionLogprobs, Usage
from proto.generation import FinishReason


class CallPiece(Struct, frozen=True):
    """What an event added to a call. Upstreams say index, id and name as often as they like."""

    index: int
    id: str
    name: str
    arguments: str


class Piece(Struct, frozen=True):
    """What one event of the upstream added."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    signature: str = ""
    """Ends a block of reasoning."""
    sealed: str = ""
    """A block of reasoning by itself."""
    reason: FinishReason | None = None
    stop: str | None = None
    """The stop string that was met."""
    cause: Cause = ""
    usage: Usage | None = None
    data: bytes = b""
    """What it said, word for word, where it goes on as it is: then the parts above are left out."""
    chars: int = 0
    """Of what ``data`` holds of the answer."""
