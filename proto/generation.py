"""One generation at an engine: what is asked, how it is accepted, and how it is steered after."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proto.format import Format
from proto.ids import GatewayId, KeyId, ModelId, RequestId, SessionId
from proto.message import Message
from proto.placement import Priority
from proto.prompt import Prompt

Limit = Annotated[int, Meta(ge=0)]
Tier = Literal["", "auto", "standard", "flex", "priority"]
"""What kind of service a client asks of an upstream; empty: it does not say."""
FinishReason = Literal["stop", "length", "stop_sequence", "tool_calls"]
"""``stop``: the model ended its turn; ``stop_sequence``: a stop string of the request was met;
``tool_calls``: it ended its turn with at least one call."""


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


Method = Literal["POST", "GET", "DELETE"]


class Verbatim(Struct, frozen=True, kw_only=True):
    """A request in its client's own words, for an upstream that speaks the same dialect."""

    endpoint: str
    """Such as ``/v1/messages``."""
    below: str = ""
    """What follows it in the path, such as ``/resp_1?include=x``."""
    method: Method = "POST"
    body: bytes = b""
    """Of a POST: JSON, in which only the model has another name."""
    headers: dict[str, str] = {}
    """Those that say something of the request itself, such as ``anthropic-beta``."""


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
    local_only: bool = False
    """It must not leave the local network: an engine that would send it on refuses it."""
    privacy: Privacy = Privacy()
    """Whose other requests may find what this one leaves in a prefix cache."""
    continues: Continuation | None = None
    """What of the answer is there already, said by an engine that was lost."""
    verbatim: Verbatim | None = None
    """Goes to an upstream as it is, whose answer comes as ``Chunk``; ``prompt`` is empty then."""
    hops: int = 0
    """Other meshes that it came through: it goes to no further one."""
    user: str = ""
    """Who the client says that it asks for, in a word of its own. For upstreams only."""
    tier: Tier = ""
    """For upstreams only."""


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    """The engine took the request on."""

    prompt_tokens: int
    place: int = 0
    """Requests ahead of it in the waiting queue; 0 is next."""


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
