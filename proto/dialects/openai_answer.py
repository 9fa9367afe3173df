"""What OpenAI's clients receive: whole completions, and the same as server-sent events."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from proto.dialects.asked import WAITING, Answered, Asked
from proto.dialects.openai import envelope
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, PositionLogprobs, Progress, TokenLogprob
from proto.frames import Usage as Spent

IMPOSSIBLE = -9999.0
"""The vendor's figure for a token that could not occur; JSON has no infinity."""

FinishReason = Literal["stop", "length"]

_encode = msgspec.json.Encoder().encode


class PromptDetails(Struct, frozen=True):
    cached_tokens: int
    audio_tokens: int = 0


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails = CompletionDetails()


class Alternative(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class Position(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Alternative]


class ChatLogprobs(Struct, frozen=True):
    content: list[Position]
    refusal: None = None


class TextLogprobs(Struct, frozen=True):
    """The older form: one list for each property."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]
    """Characters of the answer before the token."""


class AnswerMessage(Struct, frozen=True):
    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class TextCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage


class Heading(Struct, frozen=True):
    """What stands above every chunk of an answer."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str


def chat_completion(asked: Asked, heading: Heading, answers: list[Answered]) -> bytes:
    choices = [
        ChatChoice(
            index=index,
            message=AnswerMessage(answer.text),
            logprobs=None if asked.logprobs is None else chat_logprobs(answer.logprobs),
            finish_reason=finish_reason(answer.end),
        )
        for index, answer in enumerate(answers)
    ]
    return _encode(ChatCompletion(choices=choices, **_common(asked, heading, answers)))


def text_completion(asked: Asked, heading: Heading, answers: list[Answered]) -> bytes:
    choices = [
        TextChoice(
            index=index,
            text=answer.text,
            logprobs=None if asked.logprobs is None else text_logprobs(answer.logprobs, 0),
            finish_reason=finish_reason(answer.end),
        )
        for index, answer in enumerate(answers)
    ]
    return _encode(TextCompletion(choices=choices, **_common(asked, heading, answers)))


def _common(asked: Asked, heading: Heading, answers: list[Answered]) -> dict[str, Any]:
    """What whole answers of both endpoints say beside their choices."""
    return {
        "id": heading.id,
        "created": heading.created,
        "model": heading.model,
        "system_fingerprint": heading.system_fingerprint,
        "usage": usage(asked, {i: answer.end.usage for i, answer in enumerate(answers)}),
    }


def finish_reason(end: End) -> FinishReason:
    return "length" if end.reason == "length" else "stop"


def usage(asked: Asked, spent: dict[int, Spent]) -> Usage:
    """The sum over choices by their index; a prompt counts once, however many choices it has."""
    firsts = [spent[index] for index in range(0, asked.choices, asked.n)]
    prompt = sum(each.prompt_tokens for each in firsts)
    completion = sum(each.completion_tokens for each in spent.values())
    cached = sum(each.cached_tokens for each in firsts)
    return Usage(prompt, completion, prompt + completion, PromptDetails(cached))


def chat_logprobs(positions: tuple[PositionLogprobs, ...]) -> ChatLogprobs:
    return ChatLogprobs(
        [
            Position(
                token=_piece(position.chosen),
                logprob=_finite(position.chosen),
                bytes=list(position.chosen.piece),
                top_logprobs=[
                    Alternative(_piece(top), _finite(top), list(top.piece)) for top in position.top
                ],
            )
            for position in positions
        ]
    )


def text_logprobs(positions: tuple[PositionLogprobs, ...], offset: int) -> TextLogprobs:
    tokens = [_piece(position.chosen) for position in positions]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return TextLogprobs(
        tokens=tokens,
        token_logprobs=[_finite(position.chosen) for position in positions],
        top_logprobs=[{_piece(top): _finite(top) for top in p.top} for p in positions],
        text_offset=offsets,
    )


def _piece(token: TokenLogprob) -> str:
    return token.piece.decode(errors="replace")


def _finite(token: TokenLogprob) -> float:
    return max(token.logprob, IMPOSSIBLE)


class _Events:
    """One answer as server-sent events. Choices interleave; the last to end closes the answer."""

    def __init__(self, asked: Asked, heading: Heading) -> None:
        self._asked = asked
        self._top = b"data: " + _encode(heading)[:-1]
        self._bottom = b',"usage":null}\n\n' if asked.include_usage else b"}\n\n"
        self._spent: dict[int, Spent] = {}
        self._offsets = dict.fromkeys(range(asked.choices), 0)

    @property
    def is_complete(self) -> bool:
        return len(self._spent) == self._asked.choices

    def progress(self, index: int, frame: Progress) -> bytes:
        return b": prefill %d/%d\n\n" % (frame.done, frame.total)

    def call(self, index: int, frame: CallDelta) -> bytes:
        return b""

    def waiting(self) -> bytes:
        return WAITING

    def failed(self, error: MeshError) -> bytes:
        """No [DONE] after it: the answer is not complete, and SDKs raise on the error itself."""
        return b"data: " + envelope(error) + b"\n\n"

    def _close(self) -> bytes:
        done = b"data: [DONE]\n\n"
        if not self._asked.include_usage:
            return done
        spent = _encode(usage(self._asked, self._spent))
        return b'%b,"choices":[],"usage":%b}\n\n%b' % (self._top, spent, done)


class ChatEvents(_Events):
    def __init__(self, asked: Asked, heading: Heading) -> None:
        super().__init__(asked, heading)
        self._content = [
            b'%b,"choices":[{"index":%d,"delta":{"content":' % (self._top, index)
            for index in range(asked.choices)
        ]
        self._plain = b'},"logprobs":null,"finish_reason":null}]' + self._bottom
        self._silent = set(range(asked.choices))

    def delta(self, index: int, frame: Delta) -> bytes:
        if index in self._silent:
            return self._role(index) + self.delta(index, frame)
        if frame.logprobs:
            tail = _encode(chat_logprobs(frame.logprobs))
            return b'%b%b},"logprobs":%b,"finish_reason":null}]%b' % (
                self._content[index], _encode(frame.text), tail, self._bottom
            )  # fmt: skip
        if not frame.text:
            return b""
        return self._content[index] + _encode(frame.text) + self._plain

    def end(self, index: int, frame: End) -> bytes:
        self._spent[index] = frame.usage
        role = self._role(index) if index in self._silent else b""
        finish = self._choice(index, b"{}", b'"%b"' % finish_reason(frame).encode())
        return role + finish + (self._close() if self.is_complete else b"")

    def _role(self, index: int) -> bytes:
        self._silent.discard(index)
        return self._choice(index, b'{"role":"assistant","content":"","refusal":null}', b"null")

    def _choice(self, index: int, delta: bytes, finish: bytes) -> bytes:
        return b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._top, index, delta, finish, self._bottom
        )  # fmt: skip


class TextEvents(_Events):
    def delta(self, index: int, frame: Delta) -> bytes:
        logprobs = b"null"
        if frame.logprobs:
            logprobs = _encode(text_logprobs(frame.logprobs, self._offsets[index]))
            self._offsets[index] += sum(len(_piece(p.chosen)) for p in frame.logprobs)
        elif not frame.text:
            return b""
        return self._choice(index, _encode(frame.text), logprobs, b"null")

    def end(self, index: int, frame: End) -> bytes:
        self._spent[index] = frame.usage
        finish = self._choice(index, b'""', b"null", b'"%b"' % finish_reason(frame).encode())
        return finish + (self._close() if self.is_complete else b"")

    def _choice(self, index: int, text: bytes, logprobs: bytes, finish: bytes) -> bytes:
        return b'%b,"choices":[{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._top, index, text, logprobs, finish, self._bottom
        )  # fmt: skip
