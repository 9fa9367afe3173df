"""What was used, as people read it: some days, told apart by what they want to know."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Literal, get_args

from msgspec import Struct

from proto.money import dollars
from proto.usage import NOTHING, Amounts, Book, Item

By = Literal["day", "key", "model", "provider"]
BYS: tuple[By, ...] = get_args(By)
OWN = "own"
"""In place of a provider, for engines of the mesh's own."""
MOST_DAYS = 400


class UsageLine(Struct, frozen=True, kw_only=True, omit_defaults=False):
    requests: int = 0
    """Those that an engine took."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts'."""
    cache_write_tokens: int = 0
    """Of the prompts'."""
    cost_usd: float = 0.0
    """To 1e-9 dollars."""
    estimated_requests: int = 0
    """Cut at a provider's, so that their tokens are reckoned by the length of what was said."""
    unpriced_requests: int = 0
    """They left the network for a model that nobody has a price for, and cost nothing here."""


class UsageEntry(UsageLine, frozen=True, kw_only=True, omit_defaults=False):
    """What was not asked to be told apart is null."""

    day: str | None = None
    """In UTC."""
    key: str | None = None
    model: str | None = None
    provider: str | None = None


class UsageView(Struct, frozen=True, kw_only=True):
    """Days from the first to the last, both among them."""

    object: Literal["list"] = "list"
    first_day: str
    last_day: str
    by: tuple[By, ...]
    data: list[UsageEntry]
    """In the order of what they are told apart by."""
    total: UsageLine


def days(first: date, last: date) -> list[str]:
    return [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]


def usage_view(
    books: Mapping[str, Book],
    wanted: list[str],
    by: Collection[By],
    key: str | None = None,
    model: str | None = None,
) -> UsageView:
    """Of the ``wanted`` days; of one key or one model only, where they are given."""
    parted = tuple(each for each in BYS if each in by)
    sums: dict[tuple[str, ...], Amounts] = {}
    for day in wanted:
        for item, amounts in _of(books.get(day, Book()), key, model):
            told = _told(day, item)
            place = tuple(told[each] for each in parted)
            sums[place] = sums.get(place, NOTHING) + amounts
    data = [_entry(parted, place, sums[place]) for place in sorted(sums)]
    total = UsageLine(**_plain(sum(sums.values(), NOTHING)))
    return UsageView(first_day=wanted[0], last_day=wanted[-1], by=parted, data=data, total=total)


def _entry(parted: tuple[By, ...], place: tuple[str, ...], amounts: Amounts) -> UsageEntry:
    told: dict[str, Any] = dict(zip(parted, place, strict=True))
    return UsageEntry(**told, **_plain(amounts))


def _of(book: Book, key: str | None, model: str | None) -> Iterable[tuple[Item, Amounts]]:
    for item, amounts in book.rows:
        if key in (None, item.key) and model in (None, item.model):
            yield item, amounts


def _told(day: str, item: Item) -> dict[By, str]:
    provider = item.provider or OWN
    return {"day": day, "key": item.key, "model": item.model, "provider": provider}


def _plain(amounts: Amounts) -> dict[str, Any]:
    return {
        "requests": amounts.requests,
        "prompt_tokens": amounts.prompt_tokens,
        "completion_tokens": amounts.completion_tokens,
        "cached_tokens": amounts.cached_tokens,
        "cache_write_tokens": amounts.cache_write_tokens,
        "cost_usd": dollars(amounts.cost_nano_usd),
        "estimated_requests": amounts.estimated,
        "unpriced_requests": amounts.unpriced,
    }
