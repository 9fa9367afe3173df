"""What a model is to answer: a conversation in the canonical form of all dialects, or bare text."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
CacheMark = Literal["", "5m", "1h"]
"""What was said up to here is worth keeping for so long, to an upstream that is told so. Engines
of ours keep every beginning anyway; a mark changes nothing that they read.
"""


class TextPart(Struct, frozen=True, kw_only=True, tag="text"):
    text: str
    cache: CacheMark = ""


class ImagePart(Struct, frozen=True, kw_only=True, tag="image"):
    """A picture. On the bus only its hash travels: the engine asks the gateway for the bytes."""

    url: str = ""
    """Where the client says it is (``data:`` or ``https:``); empty once the gateway has it."""
    digest: bytes = b""
    """SHA-256 of the bytes, by which ``FETCH_BLOB`` gives them out; empty until then."""
    media_type: str = ""
    size: int = 0
    """Bytes."""
    cache: CacheMark = ""


class DocumentPart(Struct, frozen=True, kw_only=True, tag="document"):
    """A file that only an upstream can read, such as a PDF. On the bus its hash travels, as that of
    a picture does; one that an upstream is to fetch or has already is named and not held.
    """

    url: str = ""
    """``data:`` until the gateway has it, or ``https:`` for the upstream to fetch."""
    file_id: str = ""
    """Of a file that the upstream has."""
    digest: bytes = b""
    media_type: str = ""
    size: int = 0
    """Bytes."""
    title: str = ""
    context: str = ""
    """What the client says about it, which is none of its text."""
    cache: CacheMark = ""


Part = TextPart | ImagePart | DocumentPart


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model made."""

    id: str
    name: str
    arguments: str
    """JSON, as it was generated: not valid when the answer was cut off in the middle of it."""


class Thought(Struct, frozen=True, kw_only=True):
    """A block of thinking as an upstream made it, which takes back only what nobody changed."""

    text: str = ""
    signature: str = ""
    """Empty: unsigned, so no upstream takes it back."""
    sealed: str = ""
    """In place of both, what only the upstream can read."""


def kept(thoughts: Sequence[Thought]) -> tuple[Thought, ...]:
    """What of an answer's thinking is worth keeping block by block: all of it, or nothing where no
    upstream signed or sealed anything.
    """
    return tuple(thoughts) if any(t.signature or t.sealed for t in thoughts) else ()


class Turn(Struct, frozen=True, kw_only=True):
    """One message of a conversation, in the canonical form all dialects are mapped to."""

    role: Role
    content: str | tuple[Part, ...] = ""
    """Parts where there is a picture, a document or a mark among the words, else one string."""
    reasoning: str = ""
    """What the assistant thought before it said this; templates that want it get it back."""
    calls: tuple[ToolCall, ...] = ()
    """What the assistant called in this turn."""
    call_id: str = ""
    """The call that this turn of role ``tool`` answers."""
    name: str = ""
    """The tool that answers, where the dialect or an earlier call tells it."""
    is_error: bool = False
    """The tool failed, and the content says how."""
    thoughts: tuple[Thought, ...] = ()
    """What is behind ``reasoning`` where an upstream has to get it back as it was."""
    cache: CacheMark = ""
    """At the end of a turn of the assistant's or a tool's; others have it at their parts."""

    @property
    def text(self) -> str:
        """The words of the content, pictures left out."""
        if isinstance(self.content, str):
            return self.content
        words = content_of(replace(part, cache="") for part in self.content)
        if isinstance(words, str):
            return words
        return "".join(part.text for part in words if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))

    @property
    def documents(self) -> tuple[DocumentPart, ...]:
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, DocumentPart))


def content_of(parts: Iterable[Part]) -> str | tuple[Part, ...]:
    """As a turn has it: words side by side are one, and all is one string where nothing but words
    is in it. A mark is kept where it stands, at the end of a part.
    """
    joined: list[Part] = []
    for part in parts:
        before = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(before, TextPart) and not before.cache:
            joined[-1] = TextPart(text=f"{before.text}\n{part.text}", cache=part.cache)
        else:
            joined.append(part)
    if all(isinstance(part, TextPart) and not part.cache for part in joined):
        return "".join(part.text for part in joined if isinstance(part, TextPart))
    return tuple(joined)


class Tool(Struct, frozen=True, kw_only=True):
    """A function that the client lets the model call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON schema of the arguments object; empty: any object."""
    strict: bool = False
    """The arguments must satisfy the schema, so the engine lets nothing else be generated."""
    cache: CacheMark = ""


class ToolChoice(Struct, frozen=True, kw_only=True):
    """Whether the model may, must or must not call, and what. Enforced by the engine's grammar."""

    mode: Literal["auto", "none", "required"] = "auto"
    allowed: tuple[str, ...] = ()
    """Names of the tools that may be called; empty: all."""
    parallel: bool = True
    """More than one call in an answer is welcome."""


class Thinking(Struct, frozen=True, kw_only=True):
    """How much a model that reasons may think before it answers; nothing to one that does not."""

    enabled: bool | None = None
    """None: as the model does by default, which for a reasoner is to think."""
    effort: Effort | None = None
    budget_tokens: int | None = None
    """After so many tokens the block is closed for the model; None: as ``effort`` says."""


class Chat(Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation; the engine renders it with the model's own template."""

    turns: tuple[Turn, ...]
    continues_last: bool = False
    """The last turn is the assistant's and unfinished: the answer goes on from its end."""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    thinking: Thinking = Thinking()
    template_options: dict[str, Any] = {}
    """What else the model's chat template is to be given, by name."""
    cache: CacheMark = ""
    """Mark the last that can be marked, whatever it is."""

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """Those of all turns, in their order."""
        return tuple(image for turn in self.turns for image in turn.images)

    @property
    def documents(self) -> tuple[DocumentPart, ...]:
        return tuple(document for turn in self.turns for document in turn.documents)

    def unmarked(self) -> "Chat":
        """The same without what only upstreams are told: what our engines read, and know it by."""
        return replace(
            self,
            turns=tuple(map(_unmarked, self.turns)),
            tools=tuple(replace(tool, cache="") if tool.cache else tool for tool in self.tools),
            cache="",
        )

    @property
    def common_turns(self) -> int:
        """How many turns, from the first on, are no user's own: the system's."""
        own = (at for at, turn in enumerate(self.turns) if turn.role != "system")
        return next(own, len(self.turns))

    @property
    def chars(self) -> int:
        """Characters that a template may have to render."""
        return sum(map(_chars, self.turns)) + sum(map(len, map(str, self.tools)))


def _unmarked(turn: Turn) -> Turn:
    if not isinstance(turn.content, str) and any(part.cache for part in turn.content):
        turn = replace(turn, content=content_of(replace(p, cache="") for p in turn.content))
    return replace(turn, thoughts=(), cache="") if turn.thoughts or turn.cache else turn


def _chars(turn: Turn) -> int:
    called = sum(len(call.name) + len(call.arguments) for call in turn.calls)
    return len(turn.text) + len(turn.reasoning) + called


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """A prompt that is tokenised as it stands."""

    text: str


class Tokens(Struct, frozen=True, kw_only=True, tag="tokens"):
    """A prompt that the client tokenised itself."""

    ids: tuple[int, ...]


Prompt = Chat | Text | Tokens
