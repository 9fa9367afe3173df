"""An answer in one piece of which at most the usage matters."""

from collections.abc import Callable

from services.cloud.piece import Piece


def _nothing(_: bytes) -> Piece:
    return Piece()


class Plain:
    """A Reader."""

    is_complete = True

    def __init__(self, read: Callable[[bytes], Piece] = _nothing) -> None:
        """``read``: what a whole answer came to. Raises msgspec.DecodeError."""
        self.whole = read

    def event(self, data: bytes) -> Piece | None:
        return None

    def keeps(self, piece: Piece | None) -> bool:
        return True
