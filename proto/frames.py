"""The token stream: what an engine sends to a gateway while it generates.

Frames are msgpack arrays with an integer tag; fields are only ever appended.
``epoch`` names the attempt, ``seq`` counts the frames of one attempt from 0, so
that a reader sees every gap; the last frame is always ``End`` or ``Failed``.
The request a frame belongs to is the last token of its subject.
"""

from typing import Literal

from msgspec import Struct

from proto.generation import FinishReason

Channel = Literal["content", "reasoning"]


class Frame(Struct, frozen=True, array_like=True, gc=False):
    epoch: int
    seq: int


class Progress(Frame, frozen=True, array_like=True, tag=1, gc=False):
    """Prompt tokens ready so far. The first is sent on admission, then one every second."""

    done: int
    total: int
    cached: int
    """How many of the prompt's tokens came out of the prefix cache."""


class TokenLogprob(Struct, frozen=True, array_like=True, gc=False):
    token: int
    piece: bytes
    """The token's own bytes."""
    logprob: float


class PositionLogprobs(Struct, frozen=True, array_like=True, gc=False):
    """The chosen token and the likeliest alternatives, likeliest first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


class Delta(Frame, frozen=True, array_like=True, tag=2, gc=False):
    """What one decode step added. ``text`` may be empty while a character or stop is undecided."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] = ()
    channel: Channel = "content"
    """What the model says, or what it thinks before."""
    signature: str = ""
    """Ends a block of thoughts: an upstream's, without which it does not take them back."""
    sealed: str = ""
    """A block of thoughts by itself, which only the upstream can read."""


class CallDelta(Frame, frozen=True, array_like=True, tag=5, gc=False):
    """What one decode step added to a tool call; the tag text around it is left out."""

    call: int
    """The place of the call among those of the answer, from 0. Calls do not interleave."""
    id: str
    """Of the call; said with its first frame, which is when its name is known. Empty later."""
    name: str
    """Said with the first frame. Empty later."""
    arguments: str
    """The next piece of the arguments' JSON. All pieces of a whole call make one JSON object."""
    tokens: tuple[int, ...]


class Chunk(Frame, frozen=True, array_like=True, tag=6, gc=False):
    """What an upstream said, word for word, to a client that speaks as it does."""

    data: bytes
    """Whole events of a stream, or the next part of an answer in one piece."""
    chars: int = 0
    """Of text, thoughts and calls in it."""


class Usage(Struct, frozen=True, array_like=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int = 0
    """Of the completion's, those up to and with the one that ended the thinking."""
    cache_write_tokens: int = 0
    """Of the prompt's, those that were put into an upstream's cache on request."""
    cost_nano_usd: int | None = None
    """What an upstream says that it charges, in 1e-9 US dollars; None: it does not say."""


class Timings(Struct, frozen=True, array_like=True, gc=False):
    """Seconds, measured by the engine from the arrival of the request."""

    queued_s: float
    prefill_s: float
    decode_s: float


Cause = Literal["", "refusal", "pause"]
"""Why a turn ended that an upstream did not let end by itself: it declined to answer, or wants to
be asked to go on.
"""


class End(Frame, frozen=True, array_like=True, tag=3, gc=False):
    reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | None = None
    """The stop string that was met."""
    cause: Cause = ""


class Failed(Frame, frozen=True, array_like=True, tag=4, gc=False):
    code: str
    """The word of an ``errors.Code``."""
    message: str
    param: str | None = None
    """The request field at fault."""
    retry_after_s: float | None = None


AnyFrame = Progress | Delta | CallDelta | Chunk | End | Failed
