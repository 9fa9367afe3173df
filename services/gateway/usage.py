"""GET /v1/usage: what a key has used and what that cost; of all keys, for those who administer."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import msgspec

from bus import usage
from bus.errors import BusError
from bus.keys import away
from proto.dialects.asked import invalid
from proto.errors import Code, MeshError
from proto.keys import OTHERS
from proto.usage_view import BYS, MOST_DAYS, By, days, usage_view
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import Query, number, single
from services.gateway.keys.guard import Asked

USUAL_DAYS = 30
OWN = Asked("inference", is_administration=False)


async def show_usage(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError."""
    sees_all = gateway.entrance.known(exchange, "admin") is not None
    key = _wanted_key(exchange.query) if sees_all else _own_key(gateway, exchange)
    first, last = _range(exchange.query, datetime.now(UTC).date())
    wanted = days(first, last)
    by = _by(exchange.query)
    try:
        books = await usage.read_books(gateway.mesh.bus, wanted)
    except BusError as error:
        raise away(error) from error
    told = usage_view(books, wanted, by, key, single(exchange.query, "model"))
    await exchange.reply(200, msgspec.json.encode(told))


def _wanted_key(query: Query) -> str | None:
    return single(query, "key")


def _own_key(gateway: Gateway, exchange: Exchange) -> str:
    """Raises MeshError where it has none: what strangers use is written down together."""
    gateway.entrance.expect(exchange, OWN)
    own = gateway.entrance.billed_to(gateway.entrance.caller(exchange).key)
    asked = _wanted_key(exchange.query)
    if own == OTHERS:
        why = "What is used without an API key is counted together; use a key to see its own."
        raise MeshError(Code.FORBIDDEN, why)
    if asked not in (None, own):
        why = f"The key {own} sees its own usage; that of {asked!r} takes one with the scope admin."
        raise MeshError(Code.FORBIDDEN, why)
    return own


def _range(query: Query, today: date) -> tuple[date, date]:
    """The last of some days is today, unless it is told otherwise. Raises MeshError."""
    last = _date(query, "to", lambda: today)
    count = number(query, "days", USUAL_DAYS, least=1, most=MOST_DAYS)
    first = _date(query, "from", lambda: last - timedelta(count - 1))
    if not 0 <= (last - first).days < MOST_DAYS:
        raise invalid(
            f"`from` is {first} and `to` {last}; give up to {MOST_DAYS} days, the first one first.",
            "from",
        )
    return first, last


def _date(query: Query, name: str, default: Callable[[], date]) -> date:
    text = single(query, name)
    try:
        return default() if text is None else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise invalid(f"`{name}` is {text!r}; give a date such as 2026-11-26.", name) from None


def _by(query: Query) -> set[By]:
    """Raises MeshError."""
    names = [name.strip() for name in (single(query, "by") or "day").split(",")]
    found = {by for by in BYS if by in names}
    if len(found) != len(set(names)):
        raise invalid(f"`by` is {','.join(names)!r}; give some of {', '.join(BYS)}.", "by")
    return found
