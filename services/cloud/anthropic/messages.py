"""The turns of a conversation as the messages of Anthropic's protocol.

https://platform.claude.com/docs/en/api/messages
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from proto.dialects.anthropic_ids import tool_use_id
from proto.dialects.openai_thoughts import WRAPPED
from proto.prompt import (
    CacheMark,
    Chat,
    DocumentPart,
    ImagePart,
    Part,
    TextPart,
    Thought,
    ToolCall,
    Turn,
)
from services.cloud.unsupported import unsupported

Said = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_DATA = re.compile(r"data:([^;,]*);base64,(.*)", re.DOTALL)


def system_of(chat: Chat) -> list[Said]:
    """What is said before anybody asks anything."""
    return [block for turn in chat.turns[: chat.common_turns] for block in _content(turn)]


def messages_of(chat: Chat) -> list[Said]:
    """Raises MeshError."""
    turns = chat.turns[chat.common_turns :]
    if turns and turns[-1].role == "assistant" and not chat.continues_last:
        raise unsupported(
            "messages",
            "would go on from the assistant's last message; add one of the user, or say that it "
            "is to be gone on from",
        )
    return list(_messages(turns))


def _messages(turns: Sequence[Turn]) -> Iterator[Said]:
    """What tools return and what the user says right after it are one message: results come first,
    and only in the message that follows the calls.
    """
    waiting: list[Said] = []
    for is_result, run in groupby(turns, key=lambda turn: turn.role == "tool"):
        if is_result:
            waiting = [_result(turn) for turn in run]
            continue
        for turn in run:
            if waiting and turn.role == "user":
                yield {"role": "user", "content": waiting + _content(turn)}
            elif waiting:
                yield {"role": "user", "content": waiting}
                yield from _message(turn)
            else:
                yield from _message(turn)
            waiting = []
    if waiting:
        yield {"role": "user", "content": waiting}


def _message(turn: Turn) -> Iterator[Said]:
    content = _answer(turn) if turn.role == "assistant" else _content(turn)
    if content:
        # An answer of nothing is none: the protocol has no empty ones.
        yield {"role": turn.role, "content": content}


def _answer(turn: Turn) -> list[Said]:
    """What was thought elsewhere, or by nobody who signs, stays here: it would be refused."""
    blocks = [_thought(each) for each in turn.thoughts if _is_its_own(each)]
    if turn.text.strip():
        blocks.append({"type": "text", "text": turn.text})
    blocks += map(_call, turn.calls)
    if turn.cache and blocks and blocks[-1]["type"] in ("text", "tool_use"):
        blocks[-1] |= mark_of(turn.cache)
    return blocks


def _is_its_own(thought: Thought) -> bool:
    return bool(thought.signature or thought.sealed) and not thought.sealed.startswith(WRAPPED)


def _thought(thought: Thought) -> Said:
    if thought.sealed:
        return {"type": "redacted_thinking", "data": thought.sealed}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _call(call: ToolCall) -> Said:
    return {
        "type": "tool_use",
        "id": _id(call.id),
        "name": call.name,
        "input": _input(call.arguments),
    }


def _input(arguments: str) -> Any:
    """What was cut off is no object; wrapped, nothing of it is lost."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}


def _result(turn: Turn) -> Said:
    said: Said = {"type": "tool_result", "tool_use_id": _id(turn.call_id)}
    if turn.content:
        said["content"] = turn.content if isinstance(turn.content, str) else _content(turn)
    if turn.is_error:
        said["is_error"] = True
    return said | mark_of(turn.cache)


def _id(call: str) -> str:
    """Vendors' own ids fit. Another model's may hold anything."""
    return call if _ID.fullmatch(call) else tool_use_id(call)


def _content(turn: Turn) -> list[Said]:
    if isinstance(turn.content, str):
        return [{"type": "text", "text": turn.content}] if turn.content else []
    # Empty text is refused there, and says nothing.
    said = [part for part in turn.content if not isinstance(part, TextPart) or part.text]
    return [_part(part) | mark_of(part.cache) for part in said]


def _part(part: Part) -> Said:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(url=url):
            return {"type": "image", "source": _source(url)}
        case DocumentPart():
            said = {"title": part.title, "context": part.context}
            told = {name: value for name, value in said.items() if value}
            return {"type": "document", "source": _document(part), **told}


def _document(document: DocumentPart) -> Said:
    if document.file_id:
        return {"type": "file", "file_id": document.file_id}
    return _source(document.url)


def _source(url: str) -> Said:
    found = _DATA.match(url)
    if found is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": found[1], "data": found[2]}


def mark_of(cache: CacheMark) -> Said:
    if not cache:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": cache} if cache != "5m" else {})}
