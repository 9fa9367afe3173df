"""What OpenAI's chat completions and completions have in common."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from proto.dialects.asked import LARGEST, Name, NonEmpty
from proto.dialects.openai_format import ResponseFormat
from proto.generation import Sampling

MOST_CHOICES = 128
MOST_STOPS = 4
LARGEST_TOKEN = 2**31

Choices = Annotated[int, Meta(ge=1, le=MOST_CHOICES)]
Limit = Annotated[int, Meta(ge=0, le=LARGEST)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Stop = NonEmpty | Annotated[list[NonEmpty], Meta(max_length=MOST_STOPS)]


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Nothing is padded: on an own network there is nobody to hide sizes from."""


class Request(Struct, forbid_unknown_fields=True, kw_only=True):
    """What both endpoints understand. ``null`` is the same as leaving a field out."""

    model: Name | None = None
    """Left out: the one that the operator chose for that."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    max_tokens: Limit | None = None
    """Default: what the context leaves. 0 reads the prompt and says nothing."""
    n: Choices | None = None
    stop: Stop | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[NonEmpty, Bias] | None = None
    """By token id. Ours: any other key is a piece of text, whose every token is meant."""
    response_format: ResponseFormat | None = None
    """Ours: on completions, too."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None

    top_k: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """Ours: sample from the k likeliest tokens; 0 from all."""
    min_p: Fraction | None = None
    """Ours: leave out tokens less likely than this part of the likeliest."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """Ours: 1 changes nothing."""
    session_id: Name | None = None
    """Ours: the conversation whose cache is worth keeping; the header X-Session-Id wins."""

    def sampling(self) -> Sampling:
        biases = self.logit_bias or {}
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            # The vendor allows 0 and means the likeliest token; the canonical form starts above it.
            top_p=max(_or(self.top_p, 1.0), 1e-6),
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            seed=self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias={int(key): bias for key, bias in biases.items() if _is_token(key)},
            word_bias={key: bias for key, bias in biases.items() if not _is_token(key)},
        )

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def _is_token(key: str) -> bool:
    return key.isdecimal() and key.isascii() and int(key) < LARGEST_TOKEN


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
