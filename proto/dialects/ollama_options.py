"""The options of Ollama's clients that choose tokens."""

from typing import Annotated

from msgspec import Meta, Struct

from proto.dialects.asked import LARGEST, given
from proto.generation import Sampling

MOST_STOPS = 64

Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)] | Annotated[float, Meta(ge=-1e15, le=1e15)]
"""The vendor cuts off what stands behind the point, and so do we."""
Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-100, le=100)]


class Options(Struct, kw_only=True):
    """What has an effect, of the vendor's options: those that choose tokens."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_k: Whole | None = None
    """Zero and less: no cut-off."""
    top_p: Fraction | None = None
    min_p: Fraction | None = None
    seed: Whole | None = None
    """Less than zero: another one every time."""
    num_predict: Whole | None = None
    """Most tokens to generate. Zero and less: what the context leaves."""
    stop: Annotated[list[str], Meta(max_length=MOST_STOPS)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """Of all tokens of prompt and answer; the vendor looks at the latest 64 only."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None

    def sampling(self) -> Sampling:
        """What was not asked for is left to the model, not to the vendor's own defaults."""
        seed = -1 if self.seed is None else int(self.seed)
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            top_k=max(0, int(self.top_k or 0)),
            top_p=max(_or(self.top_p, 1.0), 1e-6),
            min_p=_or(self.min_p, 0.0),
            seed=None if seed < 0 else seed,
            repetition_penalty=_or(self.repeat_penalty, 1.0),
            presence_penalty=_or(self.presence_penalty, 0.0),
            frequency_penalty=_or(self.frequency_penalty, 0.0),
        )

    def given(self) -> frozenset[str]:
        """Which of the canonical fields are the client's own word."""
        own = given(self)
        return own if self.repeat_penalty is None else own | {"repetition_penalty"}

    def most_tokens(self) -> int | None:
        most = int(self.num_predict or 0)
        return most if most > 0 else None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
