"""One generation: how it is asked for, placed, accepted, steered and counted."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proto.ids import EngineId, GatewayId, KeyId, ModelId, RequestId, SessionId
from proto.message import Message

Limit = Annotated[int, Meta(ge=0)]
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "stop_sequence", "tool_calls"]
"""``stop``: the model ended its turn; ``stop_sequence``: a stop string of the request was met;
``tool_calls``: it ended its turn with at least one call."""
Priority = Literal["interactive", "batch"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class TextPart(Struct, frozen=True, kw_only=True, tag="text"):
    text: str


class ImagePart(Struct, frozen=True, kw_only=True, tag="image"):
    """A picture. On the bus only its hash travels: the engine asks the gateway for the bytes."""

    url: str = ""
    """Where the client says it is (``data:`` or ``https:``); empty once the gateway has it."""
    digest: bytes = b""
    """SHA-256 of the bytes, by which ``FETCH_BLOB`` gives them out; empty until then."""
    media_type: str = ""
    size: int = 0
    """Bytes."""


Part = TextPart | ImagePart


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model made."""

    id: str
    name: str
    arguments: str
    """JSON, as it was generated: not valid when the answer was cut off in the middle of it."""


class Turn(Struct, frozen=True, kw_only=True):
    """One message of a conversation, in the canonical form all dialects are mapped to."""

    role: Role
    content: str | tuple[Part, ...] = ""
    """Parts where there is a picture between the words, else one string."""
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

    @property
    def text(self) -> str:
        """The words of the content, pictures left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


class Tool(Struct, frozen=True, kw_only=True):
    """A function that the client lets the model call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON schema of the arguments object; empty: any object."""
    strict: bool = False
    """The arguments must satisfy the schema, so the engine lets nothing else be generated."""


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

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """Those of all turns, in their order."""
        return tuple(image for turn in self.turns for image in turn.images)

    @property
    def common_turns(self) -> int:
        """How many turns, from the first on, are no user's own: the system's."""
        own = (at for at, turn in enumerate(self.turns) if turn.role != "system")
        return next(own, len(self.turns))

    @property
    def chars(self) -> int:
        """Characters that a template may have to render."""
        return sum(map(_chars, self.turns)) + sum(map(len, map(str, self.tools)))


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


class JsonObject(Struct, frozen=True, kw_only=True, tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct, frozen=True, kw_only=True, tag="json_schema"):
    """JSON that satisfies a schema."""

    schema: dict[str, Any]
    name: str = ""
    strict: bool = False
    """The client insists on it. Engines do always; upstreams know two degrees."""


class Regex(Struct, frozen=True, kw_only=True, tag="regex"):
    """Text that a regular expression matches from end to end."""

    pattern: str


class Grammar(Struct, frozen=True, kw_only=True, tag="grammar"):
    """Text of a context-free grammar, written in Lark's or llama.cpp's (GBNF) notation."""

    source: str


Format = JsonObject | JsonSchema | Regex | Grammar
"""What an answer's content must look like; the engine lets nothing else be generated."""


class Sampling(Struct, frozen=True, kw_only=True):
    """How tokens are chosen. The defaults leave the model's own distribution untouched."""

    temperature: Annotated[float, Meta(ge=0)] = 1.0
    """Zero takes the likeliest token every time. Applied before the cut-offs below."""
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=0)] = 0
    """Zero: no cut-off."""
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    """Subtracted from the logit of every token generated at least once."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it was generated."""
    repetition_penalty: Annotated[float, Meta(gt=0)] = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer."""
    logit_bias: dict[int, float] = {}
    """Token id to what is added to its logit."""
    word_bias: dict[str, float] = {}
    """The same for each token of a piece of text, which only the engine can tokenise."""


class Continuation(Struct, frozen=True, kw_only=True):
    """How far an answer is whose engine was lost. Another one goes on where its frames ended.

    An engine that is handed it says none of this again, yet counts it all: in penalties and
    limits, in the draws of a seed, in ``Usage``.
    """

    tokens: tuple[int, ...]
    """Of the answer, all whose first frame was delivered; at least one."""
    frames: int = 1
    """Delivered since the last of these came, its own first one included. More than the token makes
    are of the turn's end, which is no token of the answer.
    """
    cached_tokens: int = 0
    """Prompt tokens that the first engine had in its prefix cache."""


class Privacy(Struct, frozen=True, kw_only=True):
    """Who may meet whose prompts in a prefix cache: a prompt that is read faster than another tells
    that somebody asked with its beginning before.
    """

    owner: str = ""
    """Prompts are found again by this owner's requests only; empty: by everybody's."""
    shares_system: bool = True
    """Tools and system prompt, with which many begin, are found by everybody's all the same."""


class Generate(Message, frozen=True, kw_only=True):
    """Ask an engine for one generation.

    The gateway says it to the engine that a scheduler named; no scheduler ever
    sees a prompt. Answered by ``Accepted`` or ``Refused``; tokens follow as
    frames. An engine that knows this attempt already sends the same stream
    again and never generates twice; a later attempt takes the place of an earlier one.
    """

    request: RequestId
    gateway: GatewayId
    """Where frames are sent."""
    model: ModelId
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: Limit | None = None
    """Most tokens to generate; None, or more than the context leaves: what the context leaves.

    Zero only reads the prompt, which the engine's prefix cache then knows.
    """
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of it."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """How many likeliest alternatives to report beside each chosen token; None: no logprobs."""
    session: SessionId | None = None
    """The conversation whose KV cache is worth keeping."""
    format: Format | None = None
    """What the content must look like. Reasoning before it and tool calls are free of it."""
    epoch: int = 0
    """Which attempt of the request this is; frames of an older attempt are dropped."""
    left_s: float | None = None
    """Seconds from when this is said, after which nobody waits for the answer."""
    key: KeyId = KeyId("")
    """Whose share of the engine it takes; empty: everybody's who shows no key."""
    weight: Annotated[float, Meta(gt=0)] = 1.0
    """How large that share is beside others'."""
    priority: Priority = "interactive"
    """``batch`` waits as long as anything interactive does."""
    privacy: Privacy = Privacy()
    """Whose other requests may find what this one leaves in a prefix cache."""
    continues: Continuation | None = None
    """What of the answer is there already, said by an engine that was lost."""


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    """The engine took the request on."""

    prompt_tokens: int
    place: int = 0
    """Requests ahead of it in the waiting queue; 0 is next."""


class Prefix(Struct, frozen=True, array_like=True, gc=False):
    """A beginning of a prompt, told without its words."""

    digest: bytes
    chars: int
    """Its length; a token id counts as some characters, and so does a picture."""


class Schedule(Message, frozen=True, kw_only=True):
    """Ask the schedulers which engine should serve a request, by metadata only."""

    model: ModelId
    prompt_bytes: int = 0
    """Size of the prompt's text, a first guess of its cost."""
    prefix: tuple[Prefix, ...] = ()
    """Ever longer beginnings of the prompt, the last of them all of it."""
    priority: Priority = "interactive"
    session: SessionId | None = None
    request: RequestId = RequestId("")
    """Whose question it is."""
    waited_s: float = 0.0
    """How long the request has been asking."""
    avoid: tuple[EngineId, ...] = ()
    """Engines that failed this request already; named again only if nothing else lives."""


class Candidate(Struct, frozen=True, kw_only=True):
    engine: EngineId
    boot: str
    """The engine process's boot id: another one means that what it knew is gone."""


class Scheduled(Message, frozen=True, kw_only=True, tag="scheduled"):
    """Engines to try, best first. None while the model is being loaded: ask again."""

    candidates: tuple[Candidate, ...] = ()
    waits_for: str = ""
    """What a client may be told while it waits, such as ``loading 40 %``; empty where there are
    candidates.
    """


class Want(Message, frozen=True, kw_only=True):
    """A request waits for a model that no engine serves. A scheduler says it to the leader, again
    and again as long as somebody waits: a wish that is not repeated is gone.
    """

    model: ModelId
    """Its id, whatever name the client used."""
    request: str
    """Whose wish it is, so that one that is repeated counts once."""
    waited_s: float = 0.0
    """How long it has waited."""


class Cancel(Message, frozen=True, kw_only=True):
    """Nobody waits for this request any more. Not answered; harmless when repeated."""

    request: RequestId
    epoch: int | None = None
    """Which attempt of it, with those before; None: all."""


class Hold(Message, frozen=True, kw_only=True):
    """The client of this request does not read: generate no more of it for a while.

    A gateway says it again as long as that lasts, and once more to let the engine go on. Not
    answered; a lost one does no harm, since each is soon said again or runs out.
    """

    request: RequestId
    epoch: int
    """Which attempt of it; another is not meant."""
    seq: int
    """The gateway has every frame before this one, and will ask for none of them again."""
    for_s: float
    """From when it is heard; 0: go on."""


class Replay(Message, frozen=True, kw_only=True):
    """Send the frames of a request again, from ``seq`` on. Answered by ``Replayed``."""

    request: RequestId
    seq: int


class Replayed(Message, frozen=True, kw_only=True, tag="replayed"):
    """Frames up to, not including, ``next_seq`` have been sent again."""

    next_seq: int


class CountTokens(Message, frozen=True, kw_only=True):
    """Ask an engine how many tokens a prompt is. Answered by ``Counted``."""

    model: ModelId
    prompt: Prompt
    gateway: GatewayId | None = None
    """Who gives out the prompt's pictures; None: it has none."""


class Counted(Message, frozen=True, kw_only=True, tag="counted"):
    tokens: int


class Tokenize(Message, frozen=True, kw_only=True):
    """Ask an engine for a prompt's tokens. Answered by ``Tokenized``."""

    model: ModelId
    prompt: Prompt
    with_specials: bool = True
    """A plain text gets what the model wants at its beginning, such as a first token."""
    gateway: GatewayId | None = None
    """Who gives out the prompt's pictures; None: it has none."""


class Tokenized(Message, frozen=True, kw_only=True, tag="tokenized"):
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()
    """Each token's own bytes."""


class Detokenize(Message, frozen=True, kw_only=True):
    """Ask an engine for the text of tokens. Answered by ``Detokenized``."""

    model: ModelId
    tokens: tuple[int, ...]


class Detokenized(Message, frozen=True, kw_only=True, tag="detokenized"):
    text: str


class FetchBlob(Message, frozen=True, kw_only=True):
    """Ask a gateway for bytes of a picture that a prompt names by its hash."""

    digest: bytes
    offset: int = 0


class BlobPiece(Message, frozen=True, kw_only=True, tag="blob"):
    """The bytes from ``offset`` on, at most BLOB_PIECE of them."""

    data: bytes
    size: int
    """Of the whole."""


BLOB_PIECE = 1 << 20
"""Bytes of a picture in one message: far below the bus's largest."""
