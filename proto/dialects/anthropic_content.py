"""The blocks that Anthropic's messages are made of, and the words and pictures in them."""

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from proto.dialects.asked import Ignored, Name, NonEmpty, mark, unsupported
from proto.prompt import DocumentPart, ImagePart, Part, TextPart, Thought

SIGNATURE = "odyssai.shown"
"""What stands for a signature on thinking that is sent in full. Nothing is signed or verified."""
KEPT = "odyssai.kept."
"""Begins the signature of thinking that was not shown: what follows is the thinking itself."""

BLOCKS = (
    "blocks of type text, image, document, search_result and tool_result can be sent by the user, "
    "text, thinking, redacted_thinking and tool_use by the assistant, text by the system"
)
SOURCES = "pictures are read from base64 or url, documents from text, content, base64, url or file"


class Tagged(Struct, forbid_unknown_fields=True, tag_field="type"):
    """One of several kinds of a thing, told apart by its ``type``."""


class Text(Tagged, kw_only=True, tag="text"):
    """A piece of text in a turn of the user or in a system prompt."""

    text: NonEmpty
    cache_control: Ignored = None
    """For upstreams. Engines keep every beginning anyway."""
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


class Base64Pdf(Tagged, kw_only=True, tag="base64"):
    data: NonEmpty
    media_type: Literal["application/pdf"]


class UrlPdf(Tagged, kw_only=True, tag="url"):
    url: Annotated[str, Meta(pattern="^https://")]


class UploadedFile(Tagged, kw_only=True, tag="file"):
    file_id: Name


class Document(Tagged, kw_only=True, tag="document"):
    source: PlainText | Embedded | Base64Pdf | UrlPdf | UploadedFile
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

    @property
    def whole(self) -> Thought:
        """As it is taken back by who made it; signed by nobody where that was one of ours."""
        signature = self.signature or ""
        is_ours = signature == SIGNATURE or signature.startswith(KEPT)
        return Thought(text=self.thought, signature="" if is_ours else signature)


class RedactedThinking(Tagged, kw_only=True, tag="redacted_thinking"):
    """Of another server's: nobody here can read it."""

    data: str
    cache_control: Ignored = None

    @property
    def whole(self) -> Thought:
        return Thought(sealed=self.data)


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


def words_of(content: str | list[Text]) -> list[Part]:
    """The one piece of text, or several with their marks."""
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    return [TextPart(text=block.text, cache=mark(block.cache_control)) for block in content]


def parts_of(block: Readable, where: str) -> list[Part]:
    """The words, pictures and files of the block at this path, in order. Raises MeshError."""
    parts = _parts(block, where)
    cache = mark(block.cache_control)
    return [*parts[:-1], replace(parts[-1], cache=cache)] if cache and parts else parts


def _parts(block: Readable, where: str) -> list[Part]:
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
            return _document(block)


def _document(block: Document) -> list[Part]:
    """Words that are sent as they are need nobody who reads files."""
    file = DocumentPart(title=block.title or "", context=block.context or "")
    match block.source:
        case Base64Pdf(data=data, media_type=kind):
            return [replace(file, url=f"data:{kind};base64,{data}", media_type=kind)]
        case UrlPdf(url=url):
            return [replace(file, url=url)]
        case UploadedFile(file_id=id):
            return [replace(file, file_id=id)]
        case PlainText(data=data):
            return _under([block.title, block.context], [Text(text=data)])
        case Embedded(content=content):
            inside = [Text(text=content)] if isinstance(content, str) else content
            return _under([block.title, block.context], inside)


def _under(heading: list[str | None], blocks: Iterable[Text | Image]) -> list[Part]:
    parts: list[Part] = [TextPart(text=line) for line in heading if line]
    for block in blocks:
        cache = mark(block.cache_control)
        match block:
            case Text(text=text):
                parts.append(TextPart(text=text, cache=cache))
            case Image(source=source):
                parts.append(ImagePart(url=source.address, cache=cache))
    return parts


def _expect_no_citations(citations: Citations | None, where: str) -> None:
    if citations is not None and citations.enabled:
        raise unsupported(
            f"{where}.citations", "answers name no sources; leave it out, or disable it"
        )
