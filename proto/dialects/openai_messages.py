"""A conversation as OpenAI's clients send it, and the canonical turns it comes down to."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from proto.dialects.asked import Ignored, Name, NonEmpty, invalid, mark
from proto.dialects.openai_files import FileContent, read_file
from proto.dialects.openai_thoughts import text_of, thoughts_of
from proto.dialects.openai_tools import Called, CalledFunction
from proto.errors import MeshError
from proto.prompt import CacheMark, ImagePart, Part, TextPart, ToolCall, Turn, content_of

NOT_YET = {
    "messages.content.type": "send parts of type text, image_url or file",
    "messages.audio": "earlier audio cannot be heard; send what it said as text",
    "messages.role": "use system, developer, user, assistant, tool or function",
}


class TextContent(Struct, forbid_unknown_fields=True, kw_only=True, tag="text"):
    text: str
    prompt_cache_breakpoint: Ignored = None
    cache_control: Ignored = None
    """Ours: a mark as Anthropic and OpenRouter have it. Engines keep every beginning anyway."""


class ImageUrl(Struct, forbid_unknown_fields=True, kw_only=True):
    url: NonEmpty
    """``data:`` or ``https:``."""
    detail: Literal["auto", "low", "high", "original"] | None = None
    """No difference: the model sees a picture as it was trained to."""


class ImageContent(Struct, forbid_unknown_fields=True, kw_only=True, tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: Ignored = None
    cache_control: Ignored = None


class RefusalContent(Struct, forbid_unknown_fields=True, kw_only=True, tag="refusal"):
    refusal: str


class _Said(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role"):
    content: str | list[TextContent]
    name: str | None = None
    """Accepted for the frameworks that always send it; chat templates have no place for it."""


class SystemMessage(_Said, forbid_unknown_fields=True, kw_only=True, tag="system"):
    pass


class DeveloperMessage(_Said, forbid_unknown_fields=True, kw_only=True, tag="developer"):
    """The newer name of a system message."""


class UserMessage(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role", tag="user"):
    content: str | list[TextContent | ImageContent | FileContent]
    name: str | None = None


class AssistantMessage(
    Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role", tag="assistant"
):
    """An earlier answer, which clients send back as they received it."""

    content: str | list[TextContent | RefusalContent] | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[Called] | None = None
    function_call: CalledFunction | None = None
    """The older form of a call, which a message of role function answers."""
    reasoning_content: str | None = None
    """Ours: what was thought before; templates that want it get it back."""
    reasoning: str | None = None
    """Ours: another name of reasoning_content, which wins."""
    reasoning_details: Ignored = None
    """Ours: blocks of thinking as OpenRouter has them, which their upstream gets back."""
    annotations: Ignored = None
    audio: None = None
    prefix: bool | None = None
    """Ours: in the last message, true lets the answer go on from its end."""


class ToolMessage(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role", tag="tool"):
    content: str | list[TextContent]
    tool_call_id: Name
    """Of a call in the assistant's message before."""
    name: str | None = None


class FunctionMessage(
    Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role", tag="function"
):
    """The older form of a tool's message."""

    content: str | None
    name: NonEmpty


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)
Messages = Annotated[list[Message], Meta(min_length=1)]


def turns(messages: list[Message]) -> tuple[Turn, ...]:
    """Raises MeshError where calls and their answers do not match."""
    reader = _Reader()
    read = tuple(reader.turn(at, message) for at, message in enumerate(messages))
    reader.expect_answers()
    return read


class _Reader:
    """Goes through a conversation and keeps in mind which calls wait for an answer."""

    def __init__(self) -> None:
        self._called_at = 0
        self._waiting: dict[str, str] = {}
        """Call id to the function's name."""
        self._older: dict[str, str] = {}
        """The same the other way round, for calls in the older form, which have no ids."""

    def turn(self, at: int, message: Message) -> Turn:
        if isinstance(message, ToolMessage):
            return self._tool(at, message)
        self.expect_answers()
        match message:
            case SystemMessage() | DeveloperMessage():
                return Turn(role="system", content=_content(message.content, at))
            case UserMessage():
                return Turn(role="user", content=_content(message.content, at))
            case AssistantMessage():
                return self._assistant(at, message)
            case FunctionMessage(name=name):
                id = self._older.get(name, "")
                return Turn(role="tool", content=message.content or "", call_id=id, name=name)

    def expect_answers(self) -> None:
        """Raises MeshError when a call waits for its answer still."""
        if self._waiting:
            raise invalid(
                f"`messages[{self._called_at}].tool_calls`: nothing answers "
                f"{', '.join(self._waiting)}; let a message of role tool with that tool_call_id "
                "follow for each.",
                f"messages[{self._called_at}].tool_calls",
            )

    def _assistant(self, at: int, message: AssistantMessage) -> Turn:
        calls = [
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ]
        self._called_at = at
        self._waiting = {call.id: call.name for call in calls}
        if len(self._waiting) < len(calls):
            place = f"messages[{at}].tool_calls"
            raise invalid(f"`{place}`: two calls have the same id; give each its own.", place)
        if message.function_call is not None:
            calls.append(self._call_of_old(at, message.function_call))
        thoughts = thoughts_of(message.reasoning_details)
        return Turn(
            role="assistant",
            content=_joined(message.content or message.refusal or ""),
            reasoning=message.reasoning_content or message.reasoning or text_of(thoughts),
            calls=tuple(calls),
            thoughts=thoughts,
            cache=_last_mark(message.content),
        )

    def _call_of_old(self, at: int, call: CalledFunction) -> ToolCall:
        # By its place: the same when the conversation is sent again, so that caches hold.
        id = self._older[call.name] = f"call_{at}"
        return ToolCall(id=id, name=call.name, arguments=call.arguments)

    def _tool(self, at: int, message: ToolMessage) -> Turn:
        place = f"messages[{at}].tool_call_id"
        if message.tool_call_id not in self._waiting:
            raise invalid(
                f"`{place}`: {message.tool_call_id!r} answers no open call of the assistant's "
                "message before; send each call's answer once, right after it.",
                place,
            )
        return Turn(
            role="tool",
            content=_joined(message.content),
            call_id=message.tool_call_id,
            name=self._waiting.pop(message.tool_call_id),
            cache=_last_mark(message.content),
        )


def _joined(content: str | list[TextContent] | list[TextContent | RefusalContent]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(
        part.text if isinstance(part, TextContent) else part.refusal for part in content
    )


def _last_mark(content: object) -> CacheMark:
    parts = content if isinstance(content, list) else []
    texts = (part for part in reversed(parts) if isinstance(part, TextContent))
    return next(filter(None, (mark(part.cache_control) for part in texts)), "")


def _content(
    content: str | list[TextContent] | list[TextContent | ImageContent | FileContent], at: int
) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    return content_of(
        _part(part, f"messages[{at}].content[{place}]") for place, part in enumerate(content)
    )


def _part(part: TextContent | ImageContent | FileContent, where: str) -> Part:
    cache = mark(part.cache_control)
    match part:
        case TextContent(text=text):
            return TextPart(text=text, cache=cache)
        case ImageContent(image_url=image):
            return ImagePart(url=image.url, cache=cache)
        case FileContent(file=file):
            return replace(read_file(file, where), cache=cache)


def continues(messages: list[Message], is_asked: bool | None) -> bool:
    """Whether the answer goes on from the end of the last message. Raises MeshError."""
    for at, message in enumerate(messages[:-1]):
        if isinstance(message, AssistantMessage) and message.prefix:
            raise _no_end(f"messages[{at}].prefix", "only the last message can be gone on from")
    last = messages[-1]
    if not (isinstance(last, AssistantMessage) and last.prefix) and not is_asked:
        return False
    if not isinstance(last, AssistantMessage) or last.tool_calls or last.function_call:
        raise _no_end(
            "continue_final_message" if is_asked else f"messages[{len(messages) - 1}].prefix",
            "the last message must be the assistant's, and call nothing",
        )
    return True


def _no_end(place: str, why: str) -> MeshError:
    return invalid(f"`{place}`: {why}; leave it out.", place)
