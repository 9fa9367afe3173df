"""The messages of Ollama's clients, and the turns they are mapped to."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from proto.dialects.asked import NonEmpty
from proto.prompt import ImagePart, Role, TextPart, ToolCall, Turn

_MEDIA = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "UklGR": "image/webp",
    "R0lGOD": "image/gif",
}
"""How the base64 of a picture begins. The dialect has no word for its type."""


class CalledFunction(Struct, kw_only=True):
    name: NonEmpty
    arguments: dict[str, Any] | None = None


class Called(Struct, kw_only=True):
    function: CalledFunction
    id: str | None = None


class Message(Struct, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[NonEmpty] | None = None
    """Base64."""
    tool_calls: list[Called] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


def turns(messages: list[Message]) -> tuple[Turn, ...]:
    told: list[Turn] = []
    unanswered: list[ToolCall] = []
    for at, message in enumerate(messages):
        calls = tuple(_call(at, n, called) for n, called in enumerate(message.tool_calls or ()))
        if message.role == "assistant":
            unanswered = list(calls)
        answered = _answered(message, unanswered) if message.role == "tool" else None
        role: Role = "system" if message.role == "developer" else message.role
        told.append(
            Turn(
                role=role,
                content=content(message.content or "", message.images),
                reasoning=message.thinking or "",
                calls=calls,
                call_id=answered.id if answered else message.tool_call_id or "",
                name=message.tool_name or (answered.name if answered else ""),
            )
        )
    return tuple(told)


def _call(at: int, n: int, called: Called) -> ToolCall:
    """Where the client left the id out, one that stays the same when it asks again."""
    arguments = msgspec.json.encode(called.function.arguments or {}).decode()
    return ToolCall(
        id=called.id or f"call_{at}_{n}", name=called.function.name, arguments=arguments
    )


def _answered(message: Message, unanswered: list[ToolCall]) -> ToolCall | None:
    """The call that a tool's message answers: by its id, else by its name, else the next one."""
    for fits in (
        lambda call: call.id == message.tool_call_id,
        lambda call: call.name == message.tool_name,
        lambda call: not message.tool_call_id and not message.tool_name,
    ):
        for call in filter(fits, unanswered):
            unanswered.remove(call)
            return call
    return None


def content(text: str, images: list[str] | None) -> str | tuple[ImagePart | TextPart, ...]:
    """Pictures stand before the text they came with, as the vendor shows them to the model."""
    if not images:
        return text
    parts = [ImagePart(url=_data_url(image)) for image in images]
    return (*parts, TextPart(text=text)) if text else tuple(parts)


def _data_url(image: str) -> str:
    if image.startswith("data:"):
        return image
    kinds = (media for start, media in _MEDIA.items() if image.startswith(start))
    return f"data:{next(kinds, 'application/octet-stream')};base64,{image}"
