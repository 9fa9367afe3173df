"""The events of an OpenAI-compatible upstream's stream, read one by one."""

from typing import Any

from msgspec import Struct

from proto.frames import PositionLogprobs, TokenLogprob, Usage
from proto.inference import FinishReason

REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""Whatever else an upstream says, such as ``content_filter``, is the end of the turn."""


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
    reason: FinishReason | None = None
    usage: Usage | None = None


def piece(event: dict[str, Any]) -> Piece:
    """Raises KeyError, TypeError, AttributeError when it is no event of this protocol."""
    usage = _usage(event.get("usage"))
    if not event.get("choices"):
        return Piece(usage=usage)
    choice = event["choices"][0]
    delta = choice.get("delta") or choice
    reason = choice.get("finish_reason")
    return Piece(
        text=_text(delta, "content", "text", "refusal"),
        reasoning=_text(delta, "reasoning_content", "reasoning"),
        calls=tuple(_call(call) for call in delta.get("tool_calls") or ()),
        logprobs=_logprobs(choice.get("logprobs")),
        reason=REASONS.get(reason, "stop") if reason else None,
        usage=usage,
    )


def _text(delta: dict[str, Any], *names: str) -> str:
    said = next((delta[name] for name in names if delta.get(name)), "")
    if not isinstance(said, str):
        raise TypeError(f"{type(said).__name__} in place of text")
    return said


def _usage(said: dict[str, Any] | None) -> Usage | None:
    if not said:
        return None
    return Usage(
        said.get("prompt_tokens") or 0,
        said.get("completion_tokens") or 0,
        (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        (said.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def _call(said: dict[str, Any]) -> CallPiece:
    function = said.get("function") or {}
    return CallPiece(
        index=said.get("index") or 0,
        id=said.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
    )


def _logprobs(said: dict[str, Any] | None) -> tuple[PositionLogprobs, ...]:
    def one(entry: dict[str, Any]) -> TokenLogprob:
        raw = bytes(entry["bytes"]) if entry.get("bytes") else entry["token"].encode()
        return TokenLogprob(-1, raw, entry["logprob"])

    return tuple(
        PositionLogprobs(one(entry), tuple(one(top) for top in entry.get("top_logprobs") or ()))
        for entry in (said or {}).get("content") or ()
    )
