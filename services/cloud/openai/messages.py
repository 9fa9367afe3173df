"""The turns of a conversation as an OpenAI-compatible upstream's messages.

https://platform.openai.com/docs/api-reference/chat/create, with what OpenRouter adds:
https://openrouter.ai/docs/features/prompt-caching,
https://openrouter.ai/docs/features/multimodal/pdfs and
https://openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from proto.config import ProviderKind
from proto.dialects.openai_thoughts import details_of
from proto.prompt import CacheMark, DocumentPart, ImagePart, Part, TextPart, ToolCall, Turn
from services.cloud.unsupported import unsupported

Said = dict[str, Any]

FAILED = "The tool failed:"
"""The protocol has no field for it. Engines of ours are told so, too."""
SHOWN = "What {} returned:"
"""Heads what a tool shows besides words: messages of tools hold nothing but text."""


class Messages:
    def __init__(self, kind: ProviderKind) -> None:
        self._is_openrouter = kind == "openrouter"

    def of(self, turns: Sequence[Turn]) -> Iterator[Said]:
        """What tools show follows when all of them have answered. Raises MeshError."""
        for is_answer, run in groupby(turns, key=lambda turn: turn.role == "tool"):
            group = list(run)
            yield from map(self._message, group)
            shown = [part for turn in group for part in _shown(turn)] if is_answer else []
            if shown:
                yield {"role": "user", "content": self._parts(shown)}

    def _message(self, turn: Turn) -> Said:
        said: Said = {"role": turn.role, "content": self._content(turn)}
        if turn.role == "tool":
            said["tool_call_id"] = turn.call_id
        if turn.calls:
            said["tool_calls"] = [_call(call) for call in turn.calls]
        if turn.thoughts and self._is_openrouter:
            # Others take none back.
            details = details_of([each for each in turn.thoughts if each.signature or each.sealed])
            said["reasoning_details"] = details
        return said

    def _content(self, turn: Turn) -> str | list[Said] | None:
        if turn.role in ("user", "system"):
            if isinstance(turn.content, str):
                return turn.content
            if not self._is_openrouter and all(isinstance(p, TextPart) for p in turn.content):
                # Many servers know parts of a system prompt not, and none of them a mark.
                return turn.text
            return self._parts(turn.content)
        if turn.calls and not turn.text:
            return None
        text = "\n".join(filter(None, (FAILED, turn.text))) if turn.is_error else turn.text
        if turn.cache and text and self._is_openrouter:
            return [self._part(TextPart(text=text, cache=turn.cache))]
        return text

    def _parts(self, parts: Sequence[Part]) -> list[Said]:
        """What is said about a document goes before it."""
        return [
            self._part(each)
            for part in parts
            for each in (
                (TextPart(text=part.context), part)
                if isinstance(part, DocumentPart) and part.context
                else (part,)
            )
        ]

    def _part(self, part: Part) -> Said:
        match part:
            case TextPart(text=text):
                said: Said = {"type": "text", "text": text}
            case ImagePart(url=url):
                said = {"type": "image_url", "image_url": {"url": url}}
            case DocumentPart():
                said = {"type": "file", "file": self._file(part)}
        return said | self._mark(part.cache)

    def _mark(self, cache: CacheMark) -> Said:
        """One that stays here changes what is paid, never what is said."""
        return {"cache_control": _mark_of(cache)} if cache and self._is_openrouter else {}

    def _file(self, document: DocumentPart) -> Said:
        if document.file_id:
            named = {"filename": document.title} if document.title else {}
            return {"file_id": document.file_id, **named}
        if not document.url.startswith("data:") and not self._is_openrouter:
            raise unsupported(
                "messages.content.source", "fetches no documents; send this one's bytes"
            )
        return {"filename": document.title or "document.pdf", "file_data": document.url}


def _shown(turn: Turn) -> list[Part]:
    if isinstance(turn.content, str):
        return []
    parts = [part for part in turn.content if not isinstance(part, TextPart)]
    return [TextPart(text=SHOWN.format(turn.name or turn.call_id)), *parts] if parts else []


def _call(call: ToolCall) -> Said:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _mark_of(cache: CacheMark) -> Said:
    return {"type": "ephemeral"} | ({"ttl": cache} if cache != "5m" else {})
