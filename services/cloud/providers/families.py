"""What vendors publish of their models and do not tell in their catalogs, as of November 2026.

Only what one price describes: models that cost more for longer prompts are left out, as is
everything newer. What is not here stays unknown; `prices` of a provider says it then.
https://developers.openai.com/api/docs/pricing, https://platform.claude.com/docs/en/about-claude/pricing
"""

import re

from msgspec import Struct
from msgspec.structs import replace

from proto.config import ProviderKind
from proto.presence import ModelCard
from proto.price import Price


class Family(Struct, frozen=True, kw_only=True):
    price: Price
    context_length: int = 0
    max_output_tokens: int = 0
    calls_tools: bool = False
    keeps_formats: bool = False
    reasons: bool = False
    sees: bool = False

    def completed(self, card: ModelCard) -> ModelCard:
        """With what the card leaves open."""
        return replace(
            card,
            price=card.price or self.price,
            context_length=card.context_length or self.context_length,
            max_output_tokens=card.max_output_tokens or self.max_output_tokens,
            calls_tools=card.calls_tools or self.calls_tools,
            keeps_formats=card.keeps_formats or self.keeps_formats,
            reasons=card.reasons or self.reasons,
            kind="vlm" if self.sees and card.kind == "llm" else card.kind,
        )


def _openai(
    prompt: float, cached: float, completion: float, context: int, most: int, *, reasons: bool
) -> Family:
    return Family(
        price=Price(prompt=prompt, cached=cached, completion=completion),
        context_length=context,
        max_output_tokens=most,
        calls_tools=True,
        keeps_formats=True,
        reasons=reasons,
        sees=True,
    )


def _embedder(prompt: float) -> Family:
    return Family(price=Price(prompt=prompt), context_length=8192)


def _anthropic(prompt: float, cache_write: float, cached: float, completion: float) -> Family:
    price = Price(prompt=prompt, cache_write=cache_write, cached=cached, completion=completion)
    return Family(price=price)


_GPT_5 = _openai(1.25, 0.125, 10.0, 400_000, 128_000, reasons=True)
_OPUS = _anthropic(5.0, 6.25, 0.5, 25.0)
_SONNET_4 = _anthropic(3.0, 3.75, 0.3, 15.0)

_FAMILIES: dict[ProviderKind, dict[str, Family]] = {
    "openai": {
        "gpt-5": _GPT_5,
        "gpt-5.1": _GPT_5,
        "gpt-5-mini": _openai(0.25, 0.025, 2.0, 400_000, 128_000, reasons=True),
        "gpt-5-nano": _openai(0.05, 0.005, 0.4, 400_000, 128_000, reasons=True),
        "gpt-4.1": _openai(2.0, 0.5, 8.0, 1_047_576, 32_768, reasons=False),
        "gpt-4.1-mini": _openai(0.4, 0.1, 1.6, 1_047_576, 32_768, reasons=False),
        "gpt-4.1-nano": _openai(0.1, 0.025, 0.4, 1_047_576, 32_768, reasons=False),
        "gpt-4o": _openai(2.5, 1.25, 10.0, 128_000, 16_384, reasons=False),
        "gpt-4o-mini": _openai(0.15, 0.075, 0.6, 128_000, 16_384, reasons=False),
        "o3": _openai(2.0, 0.5, 8.0, 200_000, 100_000, reasons=True),
        "o4-mini": _openai(1.1, 0.275, 4.4, 200_000, 100_000, reasons=True),
        "text-embedding-3-small": _embedder(0.02),
        "text-embedding-3-large": _embedder(0.13),
    },
    # Its catalog tells contexts and abilities itself. A cache write is one for five minutes.
    "anthropic": {
        "claude-fable-5-1": _anthropic(10.0, 12.5, 0.25, 50.0),
        "claude-fable-5": _anthropic(10.0, 12.5, 1.0, 50.0),
        **{f"claude-opus-{version}": _OPUS for version in ("5", "4-8", "4-7", "4-6", "4-5")},
        "claude-sonnet-5": _anthropic(2.0, 2.5, 0.2, 10.0),
        **{f"claude-sonnet-{version}": _SONNET_4 for version in ("4-6", "4-5", "4")},
        "claude-haiku-4-5": _anthropic(1.0, 1.25, 0.1, 5.0),
    },
}
_OLDER = {"gpt-4o-2024-05-13"}
"""A snapshot that costs what its family did then."""
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


def family(kind: ProviderKind, id: str) -> Family | None:
    """Of a model by its id, also that of a snapshot; None: nobody knows."""
    return None if id in _OLDER else _FAMILIES.get(kind, {}).get(_DATE.sub("", id))
