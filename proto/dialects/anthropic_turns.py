"""From Anthropic's messages to the turns of a conversation."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from proto.dialects.anthropic_content import (
    AssistantBlock,
    RedactedThinking,
    SaidText,
    Texts,
    ThinkingBlock,
    ToolResult,
    ToolUse,
    UserBlock,
    parts_of,
    words_of,
)
from proto.dialects.anthropic_ids import call_id
from proto.dialects.asked import Ignored, NonEmpty, invalid, mark
from proto.prompt import CacheMark, Part, TextPart, ToolCall, Turn, content_of, kept


class _Said(Struct, forbid_unknown_fields=True, tag_field="role"):
    pass


class UserMessage(_Said, kw_only=True, tag="user"):
    content: NonEmpty | Annotated[list[UserBlock], Meta(min_length=1)]


class AssistantMessage(_Said, kw_only=True, tag="assistant"):
    """An earlier answer, as it was received; or, as the last message, the beginning of this one."""

    content: str | list[AssistantBlock]


class SystemMessage(_Said, kw_only=True, tag="system"):
    """An instruction that comes in the course of the conversation."""

    content: NonEmpty | Texts | None = None
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: Ignored = None


Message = UserMessage | AssistantMessage | SystemMessage
Calls = dict[str, ToolUse]
"""What the assistant called in the turn before, by the calls' own ids."""


class _Numbered(Struct, frozen=True):
    """A message, and where it stands in the request."""

    at: int
    said: Message

    @property
    def where(self) -> str:
        return f"messages[{self.at}].content"


def turns_of(messages: Sequence[Message], system: list[Part]) -> tuple[Turn, ...]:
    """Messages of one role in a row are one turn, as with the vendor.

    Instructions before the first question belong to the system prompt. Those after
    it are shown with the question they follow, where every chat template has a
    place for them and nothing that was read before changes.
    Raises MeshError where calls and their results do not go together.
    """
    numbered = [_Numbered(at, said) for at, said in enumerate(messages)]
    first = next((m.at for m in numbered if not isinstance(m.said, SystemMessage)), len(numbered))
    leading = [*system, *(part for said in numbered[:first] for part in _instruction(said))]
    turns = list(_after_system(_in_force(numbered[first:])))
    if leading:
        turns.insert(0, Turn(role="system", content=content_of(leading)))
    return tuple(turns)


def _in_force(messages: list[_Numbered]) -> list[_Numbered]:
    """Without the instructions that were for one question only, when another one has come."""
    last = max((m.at for m in messages if isinstance(m.said, UserMessage)), default=-1)
    return [
        m
        for m in messages
        if not isinstance(m.said, SystemMessage)
        or m.said.clear_at != "next_user_message"
        or m.at > last
    ]


def _after_system(messages: list[_Numbered]) -> Iterator[Turn]:
    open_calls: Calls = {}
    runs = groupby(messages, key=lambda m: isinstance(m.said, AssistantMessage))
    ordered = [(is_answer, list(run)) for is_answer, run in runs]
    for place, (is_answer, run) in enumerate(ordered):
        is_last = place == len(ordered) - 1
        if not is_answer:
            yield from _asked(run, open_calls)
            open_calls = {}
            continue
        turn = _answered(run)
        open_calls = {call_id(block.id): block for block in _tool_uses(run)}
        if is_last:
            _expect_results(open_calls, {}, run[-1])
            _expect_continuable(turn, run[-1])
        if not (is_last and turn == Turn(role="assistant")):
            # An empty beginning of an answer is none.
            yield turn


def _asked(run: list[_Numbered], open_calls: Calls) -> Iterator[Turn]:
    """What tools returned, each in a turn of its own, then what the user says."""
    results: dict[str, Turn] = {}
    said: list[Part] = []
    for message in run:
        for at, block in enumerate(_blocks(message)):
            where = f"{message.where}[{at}]"
            if isinstance(block, ToolResult):
                turn = _result(block, open_calls, where)
                _expect_in_order(turn, results, said, where)
                results[turn.call_id] = turn
            elif isinstance(block, TextPart):
                said.append(block)
            else:
                said.extend(parts_of(block, where))
    _expect_results(open_calls, results, run[0])
    # In the order of the calls: some templates show no ids, and agents answer as they get done.
    yield from (results[call] for call in open_calls)
    if said:
        yield Turn(role="user", content=content_of(said))


def _blocks(message: _Numbered) -> Sequence[UserBlock | TextPart]:
    if isinstance(message.said, SystemMessage):
        said = _instruction(message)
        if not said:
            return []
        instruction = Turn(role="system", content=content_of(said)).text
        # Agents' own prompts explain this tag to the model.
        reminder = f"<system-reminder>\n{instruction}\n</system-reminder>"
        return [TextPart(text=reminder, cache=said[-1].cache)]
    assert isinstance(message.said, UserMessage)
    content = message.said.content
    return [TextPart(text=content)] if isinstance(content, str) else content


def _instruction(message: _Numbered) -> list[Part]:
    assert isinstance(message.said, SystemMessage)
    return words_of(message.said.content or "")


def _result(block: ToolResult, open_calls: Calls, where: str) -> Turn:
    call = call_id(block.tool_use_id)
    if call not in open_calls:
        raise invalid(
            f"`{where}.tool_use_id`: the message before has no tool_use block with the id "
            f"{block.tool_use_id}; a tool_result follows right after the call it answers.",
            f"{where}.tool_use_id",
        )
    shown = block.content or ""
    inner = [] if isinstance(shown, str) else list(enumerate(shown))
    parts = [part for at, each in inner for part in parts_of(each, f"{where}.content[{at}]")]
    bare = [replace(part, cache="") for part in parts]
    marks = (mark(block.cache_control), *(part.cache for part in reversed(parts)))
    return Turn(
        role="tool",
        content=shown if isinstance(shown, str) else content_of(bare),
        call_id=call,
        name=open_calls[call].name,
        is_error=bool(block.is_error),
        cache=next(filter(None, marks), ""),
    )


def _expect_in_order(turn: Turn, results: dict[str, Turn], said: list[Part], where: str) -> None:
    if said:
        raise invalid(
            f"`{where}`: tool_result blocks come first in a message; put the text behind them.",
            where,
        )
    if turn.call_id in results:
        raise invalid(f"`{where}`: the call has a result already; send one for each.", where)


def _answered(run: list[_Numbered]) -> Turn:
    said, thoughts = [], []
    cache: CacheMark = ""
    for message in run:
        assert isinstance(message.said, AssistantMessage)
        content = message.said.content
        blocks = [SaidText(text=content)] if isinstance(content, str) else content
        said.append("".join(block.text for block in blocks if isinstance(block, SaidText)))
        thoughts += [
            block.whole for block in blocks if isinstance(block, ThinkingBlock | RedactedThinking)
        ]
        cache = next(filter(None, (mark(b.cache_control) for b in reversed(blocks))), cache)
    calls = [_call(block) for block in _tool_uses(run)]
    if len({call.id for call in calls}) < len(calls):
        raise invalid(
            f"`{run[-1].where}`: two tool_use blocks have the same id; give each its own.",
            run[-1].where,
        )
    return Turn(
        role="assistant",
        content="\n".join(filter(None, said)),
        reasoning="\n".join(thought.text for thought in thoughts if thought.text),
        calls=tuple(calls),
        thoughts=kept(thoughts),
        cache=cache,
    )


def _tool_uses(run: list[_Numbered]) -> list[ToolUse]:
    contents = [message.said.content for message in run]
    return [
        block
        for blocks in contents
        if isinstance(blocks, list)
        for block in blocks
        if isinstance(block, ToolUse)
    ]


def _call(block: ToolUse) -> ToolCall:
    arguments = msgspec.json.encode(block.input).decode()
    return ToolCall(id=call_id(block.id), name=block.name, arguments=arguments)


def _expect_continuable(turn: Turn, message: _Numbered) -> None:
    """The answer can go on from the end of this text. Raises MeshError."""
    text = turn.text
    if text != text.rstrip():
        raise invalid(
            f"`{message.where}`: the beginning of an answer cannot end with whitespace; trim it.",
            message.where,
        )
    if turn.reasoning and not text:
        raise invalid(
            f"`{message.where}`: an answer cannot be begun with thinking alone; add text, or leave "
            "the message out.",
            message.where,
        )


def _expect_results(open_calls: Calls, results: dict[str, Turn], message: _Numbered) -> None:
    missing = [block.id for call, block in open_calls.items() if call not in results]
    if missing:
        raise invalid(
            f"`{message.where}`: the calls {', '.join(missing)} have no tool_result; send one for "
            "each in the message right after them.",
            message.where,
        )
