"""The events of an OpenAI-compatible upstream's stream, read one by one."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from proto.dialects.openai_thoughts import thoughts_of
from proto.frames import PositionLogprobs, TokenLogprob, Usage
from proto.generation import FinishReason
from proto.money import nano_usd
from services.cloud.piece import CallPiece, Piece

REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""Whatever else an upstream says is the end of the turn."""


class _Part(Struct, frozen=True):
    """What an event adds. Fields that say nothing are absent or null; others are not looked at."""

    content: str | None = None
    text: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    tool_calls: tuple["_Call", ...] | None = None


class _Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Token(Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[Annotated[int, Meta(ge=0, le=255)], ...] | None = None


class _Position(_Token, frozen=True):
    top_logprobs: tuple[_Token, ...] | None = None


class _Logprobs(Struct, frozen=True):
    content: tuple[_Position, ...] | None = None


class _Choice(_Part, frozen=True):
    """Completions say in the choice itself what chat completions say in its delta."""

    delta: _Part | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    cost: Any = None
    """In US dollars where it is a number, as OpenRouter's is
    (https://openrouter.ai/docs/use-cases/usage-accounting); others put something else there.
    """


class Event(Struct, frozen=True):
    choices: tuple[_Choice, ...] | None = None
    usage: _Usage | None = None
    error: Any = None


read: Callable[[bytes | str], Event] = msgspec.json.Decoder(Event).decode
"""Raises msgspec.DecodeError when it is no event of this protocol."""


def piece(event: Event) -> Piece:
    usage = _usage(event.usage)
    if not event.choices:
        return Piece(usage=usage)
    choice = event.choices[0]
    part, reason = choice.delta or choice, choice.finish_reason
    thoughts = thoughts_of(part.reasoning_details)
    return Piece(
        text=part.content or part.text or part.refusal or "",
        reasoning=part.reasoning_content or part.reasoning or "",
        signature=next((t.signature for t in thoughts if t.signature), ""),
        sealed=next((t.sealed for t in thoughts if t.sealed), ""),
        calls=tuple(_call(call) for call in part.tool_calls or ()),
        logprobs=_logprobs(choice.logprobs),
        reason=REASONS.get(reason, "stop") if reason else None,
        cause="refusal" if reason == "content_filter" else "",
        usage=usage,
    )


def _usage(said: _Usage | None) -> Usage | None:
    if said is None or said == _Usage():
        return None
    read, made = said.prompt_tokens_details, said.completion_tokens_details
    return Usage(
        said.prompt_tokens or 0,
        said.completion_tokens or 0,
        (read and read.cached_tokens) or 0,
        (made and made.reasoning_tokens) or 0,
        (read and read.cache_write_tokens) or 0,
        _cost(said.cost),
    )


def _cost(said: Any) -> int | None:
    if not isinstance(said, int | float) or isinstance(said, bool) or said < 0:
        return None
    try:
        return nano_usd(said)
    except ValueError:
        return None


def _call(said: _Call) -> CallPiece:
    function = said.function or _Function()
    return CallPiece(
        index=said.index or 0,
        id=said.id or "",
        name=function.name or "",
        arguments=function.arguments or "",
    )


def _logprobs(said: _Logprobs | None) -> tuple[PositionLogprobs, ...]:
    positions = (said and said.content) or ()
    return tuple(
        PositionLogprobs(_one(each), tuple(map(_one, each.top_logprobs or ())))
        for each in positions
    )


def _one(entry: _Token) -> TokenLogprob:
    raw = bytes(entry.bytes) if entry.bytes else entry.token.encode()
    return TokenLogprob(-1, raw, entry.logprob)
