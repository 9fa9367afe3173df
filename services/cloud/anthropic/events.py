"""The events of one answer of an upstream that speaks Anthropic's protocol, as pieces.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from proto.frames import Cause, Usage
from proto.generation import FinishReason
from services.cloud.piece import CallPiece, Piece

REASONS: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "length",
}
"""Whatever else an upstream says is the end of the turn."""
CAUSES: dict[str, Cause] = {"refusal": "refusal", "pause_turn": "pause"}


class _Details(Struct, frozen=True):
    thinking_tokens: int | None = None


class _Usage(Struct, frozen=True):
    """Counted from the beginning. What is absent is as it was."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Message(Struct, frozen=True):
    usage: _Usage | None = None


class _Block(Struct, frozen=True):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Delta(Struct, frozen=True):
    """Of a block, or of the message."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Event(Struct, frozen=True):
    type: str
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


read: Callable[[bytes | str], Event] = msgspec.json.Decoder(Event).decode
"""Raises msgspec.DecodeError when it is no event of this protocol."""


class _Whole(Struct, frozen=True):
    """A message that did not come as a stream."""

    usage: _Usage | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


def ended(body: bytes) -> Event:
    """How a message in one piece ended, as a stream would have said it. Raises
    msgspec.DecodeError.
    """
    whole = msgspec.json.decode(body, type=_Whole)
    delta = _Delta(stop_reason=whole.stop_reason, stop_sequence=whole.stop_sequence)
    return Event(type="message_delta", delta=delta, usage=whole.usage)


class Answer:
    """Goes through one answer's events, and keeps in mind which blocks are open."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._called: dict[int, bool] = {}
        """Calls by their block's index, and whether anything of their input was said."""
        self.is_complete = False

    def pieces(self, event: Event) -> Piece | None:
        """What the event adds; None: nothing. Events of other types are for others."""
        match event.type:
            case "message_start":
                return self._counted(event.message.usage if event.message else None)
            case "content_block_start" if event.content_block:
                return self._begun(event.index, event.content_block)
            case "content_block_delta" if event.delta:
                return self._added(event.index, event.delta)
            case "content_block_stop":
                return self._ended(event.index)
            case "message_delta":
                return self._told(event.delta or _Delta(), event.usage)
            case "message_stop":
                self.is_complete = True
        return None

    def _begun(self, index: int, block: _Block) -> Piece | None:
        """Some servers say in a block's beginning what others say in deltas."""
        match block.type:
            case "text":
                return Piece(text=block.text) if block.text else None
            case "thinking":
                thought, signature = block.thinking or "", block.signature or ""
                return Piece(reasoning=thought, signature=signature) if thought else None
            case "redacted_thinking":
                return Piece(sealed=block.data or "")
            case "tool_use":
                self._called[index] = bool(block.input)
                arguments = msgspec.json.encode(block.input).decode() if block.input else ""
                return Piece(calls=(self._call(index, arguments, block.id, block.name),))
        return None

    def _added(self, index: int, delta: _Delta) -> Piece | None:
        match delta.type:
            case "text_delta":
                return Piece(text=delta.text or "")
            case "thinking_delta":
                return Piece(reasoning=delta.thinking or "")
            case "signature_delta":
                return Piece(signature=delta.signature or "")
            case "input_json_delta" if index in self._called:
                said = delta.partial_json or ""
                self._called[index] = self._called[index] or bool(said)
                return Piece(calls=(self._call(index, said),)) if said else None
        return None

    def _ended(self, index: int) -> Piece | None:
        """A call without arguments says nothing of its input."""
        if self._called.get(index) is False:
            self._called[index] = True
            return Piece(calls=(self._call(index, "{}"),))
        return None

    def _call(
        self, index: int, arguments: str, id: str | None = None, name: str | None = None
    ) -> CallPiece:
        return CallPiece(index, id or "", name or "", arguments)

    def _told(self, delta: _Delta, usage: _Usage | None) -> Piece:
        reason = delta.stop_reason
        return Piece(
            reason=REASONS.get(reason, "stop") if reason else None,
            stop=delta.stop_sequence,
            cause=CAUSES.get(reason or "", ""),
            usage=self._count(usage),
        )

    def _counted(self, usage: _Usage | None) -> Piece | None:
        counted = self._count(usage)
        return None if counted is None else Piece(usage=counted)

    def _count(self, said: _Usage | None) -> Usage | None:
        if said is None:
            return None
        details = said.output_tokens_details or _Details()
        told = {
            "input": said.input_tokens,
            "written": said.cache_creation_input_tokens,
            "read": said.cache_read_input_tokens,
            "output": said.output_tokens,
            "thought": details.thinking_tokens,
        }
        self._spent |= {name: count for name, count in told.items() if count is not None}
        spent = self._spent.get
        read, written = spent("read", 0), spent("written", 0)
        prompt = spent("input", 0) + read + written
        return Usage(prompt, spent("output", 0), read, spent("thought", 0), written)
