"""Requests in Anthropic's own words, and their answers read along."""

import msgspec

from services.cloud.anthropic.events import Answer, ended, read
from services.cloud.anthropic.refusal import failed
from services.cloud.piece import Piece
from services.cloud.verbatim.passing import said_in

ENDPOINTS = ("/v1/messages",)


class Reading:
    """A Reader."""

    def __init__(self, name: str) -> None:
        """Of the upstream."""
        self._name = name
        self._answer = Answer()

    @property
    def is_complete(self) -> bool:
        return self._answer.is_complete

    def event(self, data: bytes) -> Piece | None:
        try:
            event = read(data)
        except msgspec.ValidationError:
            if not data.startswith(b"{"):
                raise
            # What a newer version says in another form says nothing here.
            return None
        if event.type == "error":
            raise failed(self._name, event.error)
        made = self._answer.pieces(event)
        return None if made is None else said_in(made)

    def whole(self, body: bytes) -> Piece:
        made = self._answer.pieces(ended(body))
        return said_in(made or Piece())

    def keeps(self, piece: Piece | None) -> bool:
        """All of it is the client's own."""
        return True
