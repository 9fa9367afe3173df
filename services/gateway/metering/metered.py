"""What a request took and what that costs, whatever became of it."""

from collections.abc import Iterable

from msgspec import Struct

from proto.cost import cost_nano_usd
from proto.frames import Usage
from proto.price import Price
from proto.usage import Amounts

CHARS_PER_TOKEN = 4
"""Where nobody has counted: what English text and code come to in most vocabularies."""


class Metered(Struct, frozen=True):
    usage: Usage
    """All parts together."""
    cost_nano_usd: int | None
    """None: nobody knows."""
    is_estimated: bool
    """Tokens are reckoned by the length of what was said."""

    def amounts(self, *, is_paid_for: bool) -> Amounts:
        """Of one request. Where nobody is paid, no price is missed."""
        return Amounts(
            requests=1,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            cached_tokens=self.usage.cached_tokens,
            cache_write_tokens=self.usage.cache_write_tokens,
            cost_nano_usd=self.cost_nano_usd or 0,
            estimated=int(self.is_estimated),
            unpriced=int(self.cost_nano_usd is None and is_paid_for),
        )


def metered(parts: Iterable[Usage], price: Price | None, *, is_estimated: bool = False) -> Metered:
    """Each part is paid for by itself, as a provider counts it."""
    paid = tuple(parts)
    costs = [cost_nano_usd(price, part) for part in paid]
    known = [cost for cost in costs if cost is not None]
    return Metered(
        usage=paid[0] if len(paid) == 1 else _together(paid),
        cost_nano_usd=sum(known) if paid and len(known) == len(costs) else None,
        is_estimated=is_estimated,
    )


def _together(paid: tuple[Usage, ...]) -> Usage:
    return Usage(
        sum(part.prompt_tokens for part in paid),
        sum(part.completion_tokens for part in paid),
        sum(part.cached_tokens for part in paid),
        sum(part.reasoning_tokens for part in paid),
        sum(part.cache_write_tokens for part in paid),
    )


def reckoned(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
