"""What a model costs and can do, where its provider's catalog does not tell."""

from collections.abc import Mapping

from msgspec.structs import replace

from proto.effective import matches
from proto.presence import ModelCard
from proto.price import Price
from services.cloud.providers.families import family
from services.cloud.settings import Upstream


def priced(card: ModelCard, upstream: Upstream) -> ModelCard:
    """The operator's word wins, then the catalog's; what nobody knows stays unknown."""
    known = family(upstream.kind, card.id)
    if known is not None:
        card = known.completed(card)
    told = _of(upstream.prices, card.id)
    return card if told is None else replace(card, price=told)


def _of(prices: Mapping[str, Price], id: str) -> Price | None:
    """The id's own, else that of the longest pattern which matches it."""
    patterns = sorted((pattern for pattern in prices if matches(pattern, id)), key=len)
    return prices[id] if id in prices else prices[patterns[-1]] if patterns else None
