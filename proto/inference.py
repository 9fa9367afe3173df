"""One generation: how it is asked for, placed, accepted, steered and counted."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proto.ids import EngineId, GatewayId, ModelId, RequestId, SessionId
from proto.message import Message

Positive = Annotated[int, Meta(gt=0)]
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "stop_sequence"]
"""``stop``: the model ended its turn; ``stop_sequence``: a stop string of the request was met."""


class Turn(Struct, frozen=True, kw_only=True):
    """One message of a conversation, in the canonical form all dialects are mapped to."""

    role: Role
    content: str


class Chat(Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation; the engine renders it with the model's own template."""

    turns: tuple[Turn, ...]
    continues_last: bool = False
    """The last turn is the assistant's and unfinished: the answer goes on from its end."""


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """A prompt that is tokenised as it stands."""

    text: str


class Tokens(Struct, frozen=True, kw_only=True, tag="tokens"):
    """A prompt that the client tokenised itself."""

    ids: tuple[int, ...]


Prompt = Chat | Text | Tokens


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


class Generate(Message, frozen=True, kw_only=True):
    """Ask an engine for one generation.

    The gateway says it to the engine that a scheduler named; no scheduler ever
    sees a prompt. Answered by ``Accepted`` or ``Refused``; tokens follow as
    frames. An engine that knows ``request`` already sends the same stream
    again and never generates twice.
    """

    request: RequestId
    gateway: GatewayId
    """Where frames are sent."""
    model: ModelId
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: Positive | None = None
    """Most tokens to generate; None, or more than the context leaves: what the context leaves."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of it."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """How many likeliest alternatives to report beside each chosen token; None: no logprobs."""
    session: SessionId | None = None
    """The conversation whose KV cache is worth keeping."""
    epoch: int = 0
    """Which attempt of the request this is; frames of an older attempt are dropped."""
    expires_s: float | None = None
    """Unix time in seconds. Later than this nobody waits for the answer."""


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    """The engine took the request on."""

    prompt_tokens: int
    place: int = 0
    """Requests ahead of it in the waiting queue; 0 is next."""


class Schedule(Message, frozen=True, kw_only=True):
    """Ask the schedulers which engine should serve a request, by metadata only."""

    model: ModelId
    prompt_bytes: int = 0
    """Size of the prompt's text, a first guess of its cost."""
    prefix: tuple[bytes, ...] = ()
    """Hashes of ever longer prefixes of the conversation, shortest first."""
    session: SessionId | None = None
    avoid: tuple[EngineId, ...] = ()
    """Engines that failed this request already; named again only if nothing else lives."""


class Candidate(Struct, frozen=True, kw_only=True):
    engine: EngineId
    boot: str
    """The engine process's boot id: another one means that what it knew is gone."""


class Scheduled(Message, frozen=True, kw_only=True, tag="scheduled"):
    """Engines to try, best first; never empty."""

    candidates: tuple[Candidate, ...]


class Cancel(Message, frozen=True, kw_only=True):
    """Nobody waits for this request any more. Not answered; harmless when repeated."""

    request: RequestId


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


class Counted(Message, frozen=True, kw_only=True, tag="counted"):
    tokens: int
