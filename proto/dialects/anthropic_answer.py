"""What Anthropic's clients receive whole, and what their streams have in common with it."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from proto.dialects.anthropic_content import signature_of
from proto.dialects.anthropic_ids import tool_use_id
from proto.dialects.asked import Answered
from proto.frames import Usage as Spent
from proto.inference import FinishReason, ToolCall

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]

STOP_REASONS: dict[FinishReason, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}


class CacheCreation(Struct, frozen=True):
    """The cache is filled on its own account, and nobody pays for it."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class OutputDetails(Struct, frozen=True):
    thinking_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    input_tokens: int
    """Of the prompt, those that no cache held."""
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    cache_creation: CacheCreation = CacheCreation()
    output_tokens: int
    output_tokens_details: OutputDetails
    server_tool_use: None = None
    service_tier: Literal["standard"] = "standard"


class TextAnswer(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ThinkingAnswer(Struct, frozen=True, tag_field="type", tag="thinking"):
    thinking: str
    """Empty where the client asked not to see it."""
    signature: str


class ToolUseAnswer(Struct, frozen=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


AnswerBlock = ThinkingAnswer | TextAnswer | ToolUseAnswer


class Message(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


def message(id: str, model: str, answer: Answered, shows_thinking: bool = True) -> bytes:
    return msgspec.json.encode(
        Message(
            id=id,
            model=model,
            content=_blocks(answer, shows_thinking),
            stop_reason=STOP_REASONS[answer.end.reason],
            stop_sequence=answer.end.stop,
            usage=usage_of(answer.end.usage),
        )
    )


def usage_of(spent: Spent) -> Usage:
    return Usage(
        input_tokens=spent.prompt_tokens - spent.cached_tokens,
        cache_read_input_tokens=spent.cached_tokens,
        output_tokens=spent.completion_tokens,
        output_tokens_details=OutputDetails(spent.reasoning_tokens),
    )


def _blocks(answer: Answered, shows_thinking: bool) -> list[AnswerBlock]:
    """Only those that hold something: an answer of calls alone has no text."""
    blocks: list[AnswerBlock] = []
    if answer.reasoning:
        shown = answer.reasoning if shows_thinking else ""
        blocks.append(ThinkingAnswer(shown, signature_of(answer.reasoning, shows_thinking)))
    if answer.text:
        blocks.append(TextAnswer(answer.text))
    blocks += [
        ToolUseAnswer(tool_use_id(call.id), call.name, _input(call)) for call in answer.calls
    ]
    return blocks


def _input(call: ToolCall) -> dict[str, Any]:
    """What was cut off is no object; the vendor's advice is to wrap it, so that nothing is lost."""
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": call.arguments}
