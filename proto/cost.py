"""What a request costs: its tokens at their prices, exactly, rounded once."""

from functools import lru_cache

from proto.frames import Usage
from proto.money import nano_usd
from proto.price import Price

PER = 1_000_000
"""Prices are for so many tokens."""


def cost_nano_usd(price: Price | None, usage: Usage) -> int | None:
    """What an upstream says that it charges wins. None: nobody knows, as where a token that was
    used has no price.

    Vendors count cached tokens and those written to a cache among the prompt's.
    """
    if usage.cost_nano_usd is not None:
        return usage.cost_nano_usd
    if price is None:
        return None
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    parts = (
        (usage.prompt_tokens - cached - written, price.prompt),
        (cached, price.prompt if price.cached is None else price.cached),
        (written, price.prompt if price.cache_write is None else price.cache_write),
        (usage.completion_tokens, price.completion),
    )
    cost = 0
    for tokens, usd in parts:
        if tokens and usd is None:
            return None
        if tokens and usd:
            cost += tokens * _nano_usd(usd)
    # 37.5 of 1e-9 dollars a token, for example, is no whole number. Ties go up.
    return (2 * cost + PER) // (2 * PER)


@lru_cache(maxsize=1024)
def _nano_usd(usd: float) -> int:
    return nano_usd(usd)
