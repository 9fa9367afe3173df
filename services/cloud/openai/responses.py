"""Answers of OpenAI's Responses API, read along.

Protocol: https://platform.openai.com/docs/api-reference/responses and /responses-streaming
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from proto.errors import Code, MeshError
from proto.frames import Usage
from proto.generation import FinishReason
from services.cloud.piece import Piece

ENDPOINT = "/v1/responses"


class _InputDetails(Struct, frozen=True):
    cached_tokens: int = 0


class _OutputDetails(Struct, frozen=True):
    reasoning_tokens: int = 0


class _Usage(Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _InputDetails = _InputDetails()
    output_tokens_details: _OutputDetails = _OutputDetails()


class _Incomplete(Struct, frozen=True):
    reason: str = ""


class _Response(Struct, frozen=True):
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Event(Struct, frozen=True):
    """Whatever else a newer version makes of one, it is an object."""

    type: Any = None
    delta: Any = None
    """Text where it is of an answer."""
    response: Raw = Raw(b"{}")
    message: Any = None
    """Of an event that is an error."""


_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(_Response).decode
ENDS = ("response.completed", "response.incomplete")
REASONS: dict[str, FinishReason] = {"max_output_tokens": "length"}


class Reading:
    """A Reader."""

    def __init__(self, name: str) -> None:
        """Of the upstream."""
        self.is_complete = False
        self._name = name

    def event(self, data: bytes) -> Piece | None:
        event = _event(data)
        if event.type in ("error", "response.failed"):
            raise self._failed(event)
        if event.type in ENDS:
            self.is_complete = True
            return _ended(event.response)
        return Piece(chars=len(event.delta)) if isinstance(event.delta, str) else None

    def whole(self, body: bytes) -> Piece:
        self.is_complete = True
        return _ended(body)

    def keeps(self, piece: Piece | None) -> bool:
        """All of it is the client's own."""
        return True

    def _failed(self, event: _Event) -> MeshError:
        error = _read(event.response).error
        said = error.get("message") if isinstance(error, dict) else error
        why = said or event.message or "it does not say why"
        return MeshError(Code.UPSTREAM, f"The upstream {self._name!r} failed: {why}")


def _read(response: bytes) -> _Response:
    """What a newer version says in another form says nothing here. Raises msgspec.DecodeError."""
    try:
        return _response(response)
    except msgspec.ValidationError:
        return _Response()


def _ended(said: bytes) -> Piece:
    response = _read(said)
    cut = response.incomplete_details
    return Piece(
        reason=REASONS.get(cut.reason, "stop") if cut else "stop",
        cause="refusal" if cut and cut.reason == "content_filter" else "",
        usage=_spent(response.usage) if response.usage else None,
    )


def _spent(usage: _Usage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )
