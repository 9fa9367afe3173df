"""What Anthropic's clients receive whole, and what their streams have in common with it."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from proto.dialects.anthropic_content import signature_of
from proto.dialects.anthropic_ids import tool_use_id
from proto.dialects.asked import Answered
from proto.frames import Cause, End
from proto.frames import Usage as Spent
from proto.generation import FinishReason
from proto.prompt import Thought, ToolCall

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "pause_turn"]

STOP_REASONS: dict[FinishReason, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}
CAUSES: dict[Cause, StopReason] = {"refusal": "refusal", "pause": "pause_turn"}


class CacheCreation(Struct, frozen=True):
    """An engine of ours fills its cache on its own account, and nobody pays for it."""

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


class RedactedAnswer(Struct, frozen=True, tag_field="type", tag="redacted_thinking"):
    data: str


class ToolUseAnswer(Struct, frozen=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


AnswerBlock = ThinkingAnswer | RedactedAnswer | TextAnswer | ToolUseAnswer


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
            stop_reason=stop_reason(answer.end),
            stop_sequence=answer.end.stop,
            usage=usage_of(answer.end.usage),
        )
    )


def stop_reason(end: End) -> StopReason:
    return CAUSES.get(end.cause) or STOP_REASONS[end.reason]


def usage_of(spent: Spent) -> Usage:
    written = spent.cache_write_tokens
    return Usage(
        input_tokens=spent.prompt_tokens - spent.cached_tokens - written,
        cache_creation_input_tokens=written,
        cache_creation=CacheCreation(written),
        cache_read_input_tokens=spent.cached_tokens,
        output_tokens=spent.completion_tokens,
        output_tokens_details=OutputDetails(spent.reasoning_tokens),
    )


def _blocks(answer: Answered, shows_thinking: bool) -> list[AnswerBlock]:
    """Only those that hold something: an answer of calls alone has no text."""
    blocks: list[AnswerBlock] = []
    thoughts = answer.thoughts or (Thought(text=answer.reasoning),)
    blocks += [_thinking(thought, shows_thinking) for thought in thoughts if thought != Thought()]
    if answer.text:
        blocks.append(TextAnswer(answer.text))
    blocks += [
        ToolUseAnswer(tool_use_id(call.id), call.name, _input(call)) for call in answer.calls
    ]
    return blocks


def _thinking(thought: Thought, is_shown: bool) -> ThinkingAnswer | RedactedAnswer:
    if thought.sealed:
        return RedactedAnswer(thought.sealed)
    signature = thought.signature or signature_of(thought.text, is_shown)
    return ThinkingAnswer(thought.text if is_shown else "", signature)


def _input(call: ToolCall) -> dict[str, Any]:
    """What was cut off is no object; the vendor's advice is to wrap it, so that nothing is lost."""
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": call.arguments}
