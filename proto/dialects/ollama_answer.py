"""What Ollama's clients receive: whole answers, and the same as lines of JSON."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from proto.dialects.asked import Answered
from proto.dialects.ollama import envelope
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, PositionLogprobs, Progress, TokenLogprob
from proto.prompt import ToolCall

DoneReason = Literal["stop", "length", "load", "unload"]

IMPOSSIBLE = -9999.0
"""Of a token that could not occur; JSON has no infinity."""
NS = 1_000_000_000

_encode = msgspec.json.Encoder().encode
_arguments = msgspec.json.Decoder(dict[str, Any]).decode


class Function(Struct, frozen=True):
    index: int
    name: str
    arguments: dict[str, Any]


class Call(Struct, frozen=True):
    id: str
    function: Function


class Message(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[Call] | UnsetType = UNSET


class Token(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class Position(Token, frozen=True):
    top_logprobs: list[Token]


class UnfinishedCall(Struct, frozen=True):
    """A call that was cut off, or whose arguments are no JSON object."""

    name: str
    arguments: str
    """As they were generated."""


class XOdyssai(Struct, frozen=True):
    """What the dialect has no place for."""

    unfinished_call: UnfinishedCall


class Metrics(Struct, frozen=True, kw_only=True):
    """Durations are nanoseconds."""

    total_duration: int = 0
    load_duration: int = 0
    """How long the request waited for a place in the engine; no model is loaded for a request."""
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0


class Whole(Metrics, frozen=True, kw_only=True):
    """What complete answers of both endpoints have in common; also the last line of a stream."""

    model: str
    created_at: str
    done: Literal[True] = True
    done_reason: DoneReason
    logprobs: list[Position] | UnsetType = UNSET
    x_odyssai: XOdyssai | UnsetType = UNSET


class ChatAnswer(Whole, frozen=True, kw_only=True):
    message: Message


class GenerateAnswer(Whole, frozen=True, kw_only=True):
    response: str
    thinking: str | UnsetType = UNSET


def chat_answer(model: str, answer: Answered) -> bytes:
    finished, unfinished = told_apart(answer.calls)
    said = Message(
        content=answer.text,
        thinking=answer.reasoning or UNSET,
        tool_calls=finished or UNSET,
    )
    return _encode(
        ChatAnswer(message=said, **_ending(model, answer.end, unfinished), **_of(answer))
    )


def generate_answer(model: str, answer: Answered) -> bytes:
    return _encode(
        GenerateAnswer(
            response=answer.text,
            thinking=answer.reasoning or UNSET,
            **_ending(model, answer.end, None),
            **_of(answer),
        )
    )


def loaded_answer(model: str, reason: Literal["load", "unload"], is_chat: bool) -> bytes:
    """To a request that generates nothing."""
    if is_chat:
        return _encode(
            ChatAnswer(
                model=model, created_at=now(), done_reason=reason, message=Message(content="")
            )
        )
    return _encode(GenerateAnswer(model=model, created_at=now(), done_reason=reason, response=""))


def told_apart(calls: tuple[ToolCall, ...]) -> tuple[list[Call], XOdyssai | None]:
    """Calls that can be made, and the one that cannot."""
    made = [_call(index, call) for index, call in enumerate(calls)]
    unfinished = [call for call in made if isinstance(call, XOdyssai)]
    return [call for call in made if isinstance(call, Call)], next(iter(unfinished), None)


def _call(index: int, call: ToolCall) -> Call | XOdyssai:
    """This dialect has no place for half arguments: they are reported beside the answer."""
    try:
        arguments = _arguments(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return XOdyssai(UnfinishedCall(call.name, call.arguments))
    return Call(call.id, Function(index, call.name, arguments))


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def positions(logprobs: tuple[PositionLogprobs, ...]) -> list[Position]:
    return [
        Position(
            *_token(position.chosen),
            top_logprobs=[Token(*_token(top)) for top in position.top],
        )
        for position in logprobs
    ]


def _token(token: TokenLogprob) -> tuple[str, float, list[int]]:
    text = token.piece.decode(errors="replace")
    return text, max(token.logprob, IMPOSSIBLE), list(token.piece)


def _of(answer: Answered) -> dict[str, Any]:
    return {"logprobs": positions(answer.logprobs)} if answer.logprobs else {}


def _ending(model: str, end: End, unfinished: XOdyssai | None) -> dict[str, Any]:
    spent, took = end.usage, end.timings
    return {
        "model": model,
        "created_at": now(),
        "done_reason": "length" if end.reason == "length" else "stop",
        "x_odyssai": unfinished or UNSET,
        "total_duration": int(NS * (took.queued_s + took.prefill_s + took.decode_s)),
        "load_duration": int(NS * took.queued_s),
        "prompt_eval_count": spent.prompt_tokens,
        "prompt_eval_duration": int(NS * took.prefill_s),
        "eval_count": spent.completion_tokens,
        "eval_duration": int(NS * took.decode_s),
    }


class _Events:
    """One answer as lines of JSON. A line without words is the dialect's only sign of life."""

    SAID: bytes
    """The members of a line that says something; the text is JSON."""
    THOUGHT: bytes

    def __init__(self, model: str) -> None:
        self._model = model
        self._top = b'{"model":%b,"created_at":"' % _encode(model)
        self._is_read = False
        self.is_complete = False

    def progress(self, index: int, frame: Progress) -> bytes:
        """The first is sent at once and tells nothing; later ones keep the line warm."""
        is_first, self._is_read = not self._is_read, True
        return b"" if is_first else self.waiting()

    def delta(self, index: int, frame: Delta) -> bytes:
        if not (frame.text or frame.logprobs):
            return b""
        text = _encode(frame.text)
        tail = b',"logprobs":' + _encode(positions(frame.logprobs)) if frame.logprobs else b""
        return self._line(
            (self.THOUGHT if frame.channel == "reasoning" else self.SAID) % text, tail
        )

    def call(self, index: int, frame: CallDelta) -> bytes:
        return b""

    def waiting(self, what: str = "") -> bytes:
        return self._line(self.SAID % b'""')

    def failed(self, error: MeshError) -> bytes:
        return envelope(error) + b"\n"

    def _line(self, said: bytes, tail: bytes = b"") -> bytes:
        return b'%b%b",%b,"done":false%b}\n' % (self._top, now().encode(), said, tail)


class ChatEvents(_Events):
    """A call is sent whole, as soon as something else follows it."""

    SAID = b'"message":{"role":"assistant","content":%b}'
    THOUGHT = b'"message":{"role":"assistant","content":"","thinking":%b}'

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._calls = 0
        self._open: tuple[str, str, list[str]] | None = None
        self._unfinished: XOdyssai | None = None

    def delta(self, index: int, frame: Delta) -> bytes:
        called = self._close() if frame.text else b""
        return called + super().delta(index, frame)

    def call(self, index: int, frame: CallDelta) -> bytes:
        before = self._close() if frame.call >= self._calls else b""
        if self._open is None:
            self._open = (frame.id, frame.name, [])
            self._calls = frame.call + 1
        self._open[2].append(frame.arguments)
        return before

    def end(self, index: int, frame: End) -> bytes:
        self.is_complete = True
        called = self._close()
        said = Message(content="")
        last = ChatAnswer(message=said, **_ending(self._model, frame, self._unfinished))
        return called + _encode(last) + b"\n"

    def _close(self) -> bytes:
        """The line of the call that is complete now, if there is one."""
        if self._open is None:
            return b""
        id, name, pieces = self._open
        self._open = None
        arguments = "".join(pieces)
        call = _call(self._calls - 1, ToolCall(id=id, name=name, arguments=arguments))
        if isinstance(call, XOdyssai):
            self._unfinished = call
            return b""
        return self._line(b'"message":' + _encode(Message(content="", tool_calls=[call])))


class GenerateEvents(_Events):
    SAID = b'"response":%b'
    THOUGHT = b'"response":"","thinking":%b'

    def end(self, index: int, frame: End) -> bytes:
        self.is_complete = True
        return _encode(GenerateAnswer(response="", **_ending(self._model, frame, None))) + b"\n"
