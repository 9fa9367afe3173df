"""What Anthropic's clients receive: whole messages, and the same as server-sent events."""

from typing import Literal

import msgspec
from msgspec import Struct

from proto.dialects.anthropic import envelope
from proto.dialects.asked import WAITING, Answered
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from proto.frames import Usage as Spent
from proto.inference import FinishReason

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]

STOP_REASONS: dict[FinishReason, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}

_encode = msgspec.json.Encoder().encode


class Usage(Struct, frozen=True):
    input_tokens: int
    """Of the prompt, those that no cache held."""
    cache_creation_input_tokens: int
    """Always 0: the cache is filled on its own account, and nobody pays for it."""
    cache_read_input_tokens: int
    output_tokens: int


class AnswerBlock(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class Message(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


def message(id: str, model: str, answer: Answered) -> bytes:
    return _encode(
        Message(
            id=id,
            model=model,
            content=[AnswerBlock(answer.text)],
            stop_reason=STOP_REASONS[answer.end.reason],
            stop_sequence=answer.end.stop,
            usage=_usage(answer.end.usage),
        )
    )


def _usage(spent: Spent) -> Usage:
    fresh = spent.prompt_tokens - spent.cached_tokens
    return Usage(fresh, 0, spent.cached_tokens, spent.completion_tokens)


class _Stop(Struct, frozen=True):
    stop_reason: StopReason
    stop_sequence: str | None


class _MessageStart(Struct, frozen=True, tag_field="type", tag="message_start"):
    message: Message


class _MessageDelta(Struct, frozen=True, tag_field="type", tag="message_delta"):
    delta: _Stop
    usage: Usage


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)


PING = _event(b"ping", b'{"type":"ping"}')
BLOCK_START = _event(
    b"content_block_start",
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
)
BLOCK_STOP = _event(b"content_block_stop", b'{"type":"content_block_stop","index":0}')
MESSAGE_STOP = _event(b"message_stop", b'{"type":"message_stop"}')
TEXT_HEAD = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
)
TEXT_TAIL = b"}}\n\n"


class Events:
    """One message as server-sent events."""

    def __init__(self, id: str, model: str, request_id: str) -> None:
        self._id = id
        self._model = model
        self._request_id = request_id
        self._is_open = False
        self.is_complete = False

    def progress(self, index: int, frame: Progress) -> bytes:
        """The first tells what message_start has to tell; later ones keep the line warm."""
        if self._is_open:
            return b": prefill %d/%d\n\n" % (frame.done, frame.total)
        return self._open(Spent(frame.total, 0, frame.cached))

    def delta(self, index: int, frame: Delta) -> bytes:
        if not frame.text:
            return b""
        text = TEXT_HEAD + _encode(frame.text) + TEXT_TAIL
        # Progress precedes every Delta; without it the prompt's size would be unknown here.
        return text if self._is_open else self._open(Spent(0, 0, 0)) + text

    def end(self, index: int, frame: End) -> bytes:
        self.is_complete = True
        start = b"" if self._is_open else self._open(frame.usage)
        stop = _MessageDelta(_Stop(STOP_REASONS[frame.reason], frame.stop), _usage(frame.usage))
        return start + BLOCK_STOP + _event(b"message_delta", _encode(stop)) + MESSAGE_STOP

    def call(self, index: int, frame: CallDelta) -> bytes:
        return b""

    def waiting(self) -> bytes:
        return WAITING

    def failed(self, error: MeshError) -> bytes:
        return _event(b"error", envelope(error, self._request_id))

    def _open(self, spent: Spent) -> bytes:
        self._is_open = True
        begun = Message(
            id=self._id,
            model=self._model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            # One token is on its way when a message starts; the vendor counts it here, too.
            usage=_usage(Spent(spent.prompt_tokens, 1, spent.cached_tokens)),
        )
        return _event(b"message_start", _encode(_MessageStart(begun))) + BLOCK_START + PING
