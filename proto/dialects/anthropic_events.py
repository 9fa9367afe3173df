"""One message as the server-sent events that Anthropic's clients read."""

from typing import Literal

import msgspec
from msgspec import Struct

from proto.dialects.anthropic import envelope
from proto.dialects.anthropic_answer import Message, StopReason, Usage, stop_reason, usage_of
from proto.dialects.anthropic_content import signature_of
from proto.dialects.anthropic_ids import tool_use_id
from proto.dialects.asked import sign_of_life
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from proto.frames import Usage as Spent

_encode = msgspec.json.Encoder().encode


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
MESSAGE_STOP = _event(b"message_stop", b'{"type":"message_stop"}')
TEXT = b'{"type":"text","text":""}'
THINKING = b'{"type":"thinking","thinking":"","signature":""}'


class Events:
    """Blocks come one after the other, each opened by its first piece.

    A byte template for the block that is open, so that a piece costs one encoding of its text.
    """

    def __init__(self, id: str, model: str, request_id: str, shows_thinking: bool = True) -> None:
        self._id = id
        self._model = model
        self._request_id = request_id
        self._shows_thinking = shows_thinking
        self._is_open = False
        self._block: Literal["text", "thinking", "sealed"] | int | None = None
        """What is being written: words, thoughts, or the call of this number."""
        self._index = -1
        self._head = b""
        self._thought: list[str] = []
        """What the open block of thoughts held back."""
        self._signature = ""
        """An upstream's, for the block that it ends."""
        self.is_complete = False

    def progress(self, index: int, frame: Progress) -> bytes:
        """The first tells what message_start has to tell; later ones keep the line warm."""
        if self._is_open:
            return b": prefill %d/%d\n\n" % (frame.done, frame.total) + PING
        return self._begin(Spent(frame.total, 0, frame.cached))

    def delta(self, index: int, frame: Delta) -> bytes:
        if frame.channel == "reasoning":
            return self._thinking(frame)
        if not frame.text:
            return b""
        return self._switch("text", TEXT, b"text_delta", b"text") + self._piece(frame.text)

    def _thinking(self, frame: Delta) -> bytes:
        told = b""
        if frame.text or frame.signature:
            told = self._switch("thinking", THINKING, b"thinking_delta", b"thinking")
        if frame.text and self._shows_thinking:
            told += self._piece(frame.text)
        elif frame.text:
            self._thought.append(frame.text)
        if frame.signature:
            self._signature = frame.signature
            told += self._close()
        if frame.sealed:
            block = b'{"type":"redacted_thinking","data":%b}' % _encode(frame.sealed)
            told += self._switch("sealed", block, b"", b"") + self._close()
        return told

    def call(self, index: int, frame: CallDelta) -> bytes:
        before = b""
        if self._block != frame.call:
            block = b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (
                _encode(tool_use_id(frame.id)), _encode(frame.name)
            )  # fmt: skip
            before = self._switch(frame.call, block, b"input_json_delta", b"partial_json")
        return before + (self._piece(frame.arguments) if frame.arguments else b"")

    def end(self, index: int, frame: End) -> bytes:
        self.is_complete = True
        start = b"" if self._is_open else self._begin(frame.usage)
        stop = _MessageDelta(_Stop(stop_reason(frame), frame.stop), usage_of(frame.usage))
        return start + self._close() + _event(b"message_delta", _encode(stop)) + MESSAGE_STOP

    def waiting(self, what: str = "") -> bytes:
        """A ping, but nothing that a client could take for an event before the first one."""
        return PING if self._is_open else sign_of_life(what)

    def failed(self, error: MeshError) -> bytes:
        return _event(b"error", envelope(error, self._request_id))

    def _begin(self, spent: Spent) -> bytes:
        self._is_open = True
        begun = Message(
            id=self._id,
            model=self._model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            # One token is on its way when a message starts; the vendor counts it here, too.
            usage=usage_of(Spent(spent.prompt_tokens, 1, spent.cached_tokens)),
        )
        return _event(b"message_start", _encode(_MessageStart(begun))) + PING

    def _switch(
        self,
        to: Literal["text", "thinking", "sealed"] | int,
        block: bytes,
        kind: bytes,
        field: bytes,
    ) -> bytes:
        """End the block that is open and begin this one, unless it is the one."""
        if self._block == to:
            return b""
        # Progress precedes every piece; without it the prompt's size would be unknown here.
        before = b"" if self._is_open else self._begin(Spent(0, 0, 0))
        before += self._close()
        self._block = to
        self._index += 1
        self._head = (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
        ) % (self._index, kind, field)
        start = b'{"type":"content_block_start","index":%d,"content_block":%b}'
        return before + _event(b"content_block_start", start % (self._index, block))

    def _piece(self, text: str) -> bytes:
        return self._head + _encode(text) + b"}}\n\n"

    def _close(self) -> bytes:
        block, self._block = self._block, None
        if block is None:
            return b""
        stop = _event(
            b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._index
        )
        if block != "thinking":
            return stop
        ours = signature_of("".join(self._thought), self._shows_thinking)
        signature, self._signature = self._signature or ours, ""
        self._thought.clear()
        signed = (
            b'{"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"signature_delta","signature":%b}}'
        )
        return _event(b"content_block_delta", signed % (self._index, _encode(signature))) + stop
