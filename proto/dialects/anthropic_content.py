"""The blocks that Anthropic's messages are made of, and the words and pictures in them."""

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proto.dialects.asked import Ignored, Name, NonEmpty, unsupported
from proto.inference import ImagePart, Part, TextPart

SIGNATURE = "odyssai.shown"
"""What stands for a signature on thinking that is sent in full. Nothing is signed or verified."""
KEPT = "odyssai.kept."
"""Begins the signature of thinking that was not shown: what follows is the thinking itself."""

BLOCKS = (
    "blocks of type text, image, document, search_result and tool_result can be sent by the user, "
    "text, thinking, redacted_thinking and tool_use by the assistant, text by the system"
)
SOURCES = (
    "pictures are read from base64 or url, documents from text or content; put the words of a PDF "
    "or of a file into a text block"
)


class Tagged(Struct, forbid_unknown_fields=True, tag_field="type"):
    """One of several kinds of a thing, told apart by its ``type``."""


class Text(Tagged, kw_only=True, tag="text"):
    """A piece of text in a turn of the user or in a system prompt."""

    text: NonEmpty
    cache_control: Ignored = None
    """Every prefix is cached; markers change nothing."""
    citations: Ignored = None


class SaidText(Tagged, kw_only=True, tag="text"):
    """A piece of text in an answer that is sent back, which may have been empty."""

    text: str
    cache_control: Ignored = None
    citations: Ignored = None


class Base64Image(Tagged, kw_only=True, tag="base64"):
    data: NonEmpty
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]

    @property
    def address(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"


class UrlImage(Tagged, kw_only=True, tag="url"):
    url: NonEmpty

    @property
    def address(self) -> str:
        return self.url


class Image(Tagged, kw_only=True, tag="image"):
    source: Base64Image | UrlImage
    cache_control: Ignored = None
    transformations: Ignored = None


class Citations(Struct, forbid_unknown_fields=True):
    enabled: bool | None = None


class PlainText(Tagged, kw_only=True, tag="text"):
    data: str
    media_type: Literal["text/plain"]


class Embedded(Tagged, kw_only=True, tag="content"):
    content: str | list[Text | Image]


class Document(Tagged, kw_only=True, tag="document"):
    source: PlainText | Embedded
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: Ignored = None


class SearchResult(Tagged, kw_only=True, tag="search_result"):
    source: str
    title: str
    content: list[Text]
    citations: Citations | None = None
    cache_control: Ignored = None


class ToolReference(Tagged, kw_only=True, tag="tool_reference"):
    """Names a tool that a search has found; every tool is known to the model anyway."""

    tool_name: NonEmpty
    cache_control: Ignored = None


class ToolResult(Tagged, kw_only=True, tag="tool_result"):
    tool_use_id: Name
    content: str | list[Text | Image | Document | SearchResult | ToolReference] | None = None
    is_error: bool | None = None
    cache_control: Ignored = None
    toolset_name: None = None


class ToolUse(Tagged, kw_only=True, tag="tool_use"):
    id: Name
    name: NonEmpty
    input: dict[str, Any]
    cache_control: Ignored = None
    caller: Ignored = None
    toolset_name: None = None


class ThinkingBlock(Tagged, kw_only=True, tag="thinking"):
    """What the assistant thought, as it was sent or, by its signature, as it was kept back."""

    thinking: str
    signature: str | None = None
    cache_control: Ignored = None

    @property
    def thought(self) -> str:
        return self.thinking or thought_behind(self.signature or "")


class RedactedThinking(Tagged, kw_only=True, tag="redacted_thinking"):
    """Of another server's: nobody here can read it."""

    data: str
    cache_control: Ignored = None


Readable = Text | Image | Document | SearchResult | ToolReference
"""What a person or a tool shows to the model."""
UserBlock = Text | Image | Document | SearchResult | ToolResult
AssistantBlock = SaidText | ThinkingBlock | RedactedThinking | ToolUse
Texts = Annotated[list[Text], Meta(min_length=1)]


def signature_of(thought: str, is_shown: bool) -> str:
    """Lets thinking that is not shown come back with the conversation, as the vendor's does."""
    if is_shown:
        return SIGNATURE
    return KEPT + base64.urlsafe_b64encode(thought.encode()).decode()


def thought_behind(signature: str) -> str:
    """Empty for a signature of anybody else's."""
    if not signature.startswith(KEPT):
        return ""
    try:
        return base64.urlsafe_b64decode(signature.removeprefix(KEPT)).decode()
    except (binascii.Error, ValueError):
        return ""


def content_of(parts: Iterable[Part]) -> str | tuple[Part, ...]:
    """As a turn has it: words side by side are one, and all is one string without a picture."""
    joined: list[Part] = []
    for part in parts:
        before = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(before, TextPart):
            joined[-1] = TextPart(text=f"{before.text}\n{part.text}")
        else:
            joined.append(part)
    if all(isinstance(part, TextPart) for part in joined):
        return "".join(part.text for part in joined if isinstance(part, TextPart))
    return tuple(joined)


def words_of(content: str | list[Text]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def parts_of(block: Readable, where: str) -> list[Part]:
    """The words and pictures of the block at this path, in order. Raises MeshError."""
    match block:
        case Text(text=text):
            return [TextPart(text=text)]
        case Image(source=source):
            return [ImagePart(url=source.address)]
        case ToolReference(tool_name=name):
            return [TextPart(text=name)]
        case SearchResult():
            _expect_no_citations(block.citations, where)
            return _under([block.title, block.source], block.content)
        case Document():
            _expect_no_citations(block.citations, where)
            return _under([block.title, block.context], _inside(block.source))


def _inside(source: PlainText | Embedded) -> list[Text | Image]:
    said = source.data if isinstance(source, PlainText) else source.content
    return [Text(text=said)] if isinstance(said, str) else said


def _under(heading: list[str | None], blocks: Iterable[Text | Image]) -> list[Part]:
    parts: list[Part] = [TextPart(text=line) for line in heading if line]
    for block in blocks:
        match block:
            case Text(text=text):
                parts.append(TextPart(text=text))
            case Image(source=source):
                parts.append(ImagePart(url=source.address))
    return parts


def _expect_no_citations(citations: Citations | None, where: str) -> None:
    if citations is not None and citations.enabled:
        raise unsupported(
            f"{where}.citations", "answers name no sources; leave it out, or disable it"
        )
