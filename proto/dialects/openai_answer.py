"""What OpenAI's clients receive: whole completions."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from proto.dialects.asked import Answered, Asked
from proto.dialects.openai_thoughts import Detail, details_of
from proto.frames import End, PositionLogprobs, TokenLogprob
from proto.frames import Usage as Spent
from proto.generation import FinishReason as Reason
from proto.prompt import Text

IMPOSSIBLE = -9999.0
"""The vendor's figure for a token that could not occur; JSON has no infinity."""

FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]
FINISH_REASONS: dict[Reason, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
}

encode = msgspec.json.Encoder().encode


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


class MadeCall(Struct, frozen=True):
    name: str
    arguments: str
    """JSON; not complete when the finish reason is ``length``."""


class AnswerCall(Struct, frozen=True):
    id: str
    function: MadeCall
    type: Literal["function"] = "function"


class AnswerMessage(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str | None
    """Null where there are only calls."""
    refusal: None = None
    tool_calls: list[AnswerCall] | UnsetType = UNSET
    function_call: MadeCall | UnsetType = UNSET
    """In place of tool_calls where the request had functions in place of tools."""
    reasoning_content: str | UnsetType = UNSET
    """Ours: what was thought before."""
    reasoning: str | UnsetType = UNSET
    """Ours: the same under its other name."""
    reasoning_details: list[Detail] | UnsetType = UNSET
    """Ours: its blocks where an upstream signed them, as OpenRouter has them."""


class ChatChoice(Struct, frozen=True):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


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
            message=_message(asked, answer),
            logprobs=None if asked.logprobs is None else chat_logprobs(answer.logprobs),
            finish_reason=finish_reason(asked, answer.end),
        )
        for index, answer in enumerate(answers)
    ]
    return encode(ChatCompletion(choices=choices, **_common(asked, heading, answers)))


def _message(asked: Asked, answer: Answered) -> AnswerMessage:
    thought = answer.reasoning if asked.shows_reasoning and answer.reasoning else UNSET
    calls = [AnswerCall(call.id, MadeCall(call.name, call.arguments)) for call in answer.calls]
    shows_details = asked.shows_reasoning and bool(answer.thoughts)
    is_older = asked.calls_functions and bool(calls)
    return AnswerMessage(
        content=None if calls and not answer.text else answer.text,
        tool_calls=UNSET if is_older or not calls else calls,
        function_call=calls[0].function if is_older else UNSET,
        reasoning_content=thought,
        reasoning=thought,
        reasoning_details=details_of(answer.thoughts) if shows_details else UNSET,
    )


def text_completion(asked: Asked, heading: Heading, answers: list[Answered]) -> bytes:
    choices = [
        TextChoice(
            index=index,
            text=echoed(asked, index) + answer.text,
            logprobs=None if asked.logprobs is None else text_logprobs(answer.logprobs, 0),
            finish_reason="length" if answer.end.reason == "length" else "stop",
        )
        for index, answer in enumerate(answers)
    ]
    return encode(TextCompletion(choices=choices, **_common(asked, heading, answers)))


def _common(asked: Asked, heading: Heading, answers: list[Answered]) -> dict[str, Any]:
    """What whole answers of both endpoints say beside their choices."""
    return {
        "id": heading.id,
        "created": heading.created,
        "model": heading.model,
        "system_fingerprint": heading.system_fingerprint,
        "usage": usage(asked, {i: answer.end.usage for i, answer in enumerate(answers)}),
    }


def echoed(asked: Asked, choice: int) -> str:
    """What stands before an answer when the prompt is to be repeated."""
    prompt = asked.prompts[choice // asked.n]
    return prompt.text if asked.echo and isinstance(prompt, Text) else ""


def finish_reason(asked: Asked, end: End) -> FinishReason:
    if end.cause == "refusal":
        return "content_filter"
    if end.cause == "pause":
        return "length"
    if asked.calls_functions and end.reason == "tool_calls":
        return "function_call"
    return FINISH_REASONS[end.reason]


def usage(asked: Asked, spent: dict[int, Spent]) -> Usage:
    """The sum over choices by their index; a prompt counts once, however many choices it has."""
    firsts = [spent[index] for index in range(0, asked.choices, asked.n)]
    prompt = sum(each.prompt_tokens for each in firsts)
    completion = sum(each.completion_tokens for each in spent.values())
    details = CompletionDetails(sum(each.reasoning_tokens for each in spent.values()))
    cached = sum(each.cached_tokens for each in firsts)
    return Usage(prompt, completion, prompt + completion, PromptDetails(cached), details)


def chat_logprobs(positions: tuple[PositionLogprobs, ...]) -> ChatLogprobs:
    return ChatLogprobs(
        [
            Position(
                token=piece(position.chosen),
                logprob=_finite(position.chosen),
                bytes=list(position.chosen.piece),
                top_logprobs=[
                    Alternative(piece(top), _finite(top), list(top.piece)) for top in position.top
                ],
            )
            for position in positions
        ]
    )


def text_logprobs(positions: tuple[PositionLogprobs, ...], offset: int) -> TextLogprobs:
    tokens = [piece(position.chosen) for position in positions]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return TextLogprobs(
        tokens=tokens,
        token_logprobs=[_finite(position.chosen) for position in positions],
        top_logprobs=[{piece(top): _finite(top) for top in p.top} for p in positions],
        text_offset=offsets,
    )


def piece(token: TokenLogprob) -> str:
    return token.piece.decode(errors="replace")


def _finite(token: TokenLogprob) -> float:
    return max(token.logprob, IMPOSSIBLE)
