"""What was used and what it cost: what gateways report, and the books that are made of it.

A report is sent until it is kept, and may be kept twice: its number tells. A book says up to which
place of the stream of reports it is made up, so that each report counts in it once.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct, field
from msgspec.structs import replace

from proto.ids import GatewayId
from proto.message import Message

USED = "used"
"""The stream of UsageReport."""
MOST_WAITING_BYTES = 64 << 20
"""Of reports that are in no book yet; gateways hold back what is more."""
USAGE = "usage"
"""The bucket of Book, by its day such as ``2026-11-26``, and of Head under its own name."""
HEAD = "head"
LEASE_OF_BOOKS = "books"
"""Of whoever makes them up."""
KEPT_S = 400 * 86_400.0
MOST_BYTES = 64 << 20
"""Of all days together; the oldest go first."""
MOST_ROWS = 20_000
"""Of a day; what is beyond is written down for MANY."""
MANY = "many"
"""In place of a key's name, where there are too many."""
MOST_BOOTS = 1000
"""Lives of gateways whose latest report is known."""


class Item(Struct, frozen=True, array_like=True):
    """What is told apart within a day."""

    key: str
    """By the name of its API key; ``others`` for all whose key is not known."""
    model: str
    """That served, by its id."""
    provider: str
    """By its name in the configuration; empty: an engine of the mesh's own."""


class Amounts(Struct, frozen=True, array_like=True):
    """How much of it."""

    requests: int = 0
    """Those that an engine took."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts'."""
    cache_write_tokens: int = 0
    """Of the prompts'."""
    cost_nano_usd: int = 0
    estimated: int = 0
    """Of the requests, those whose tokens nobody counted to the end: they were cut at a provider's,
    and are reckoned by the length of what was said.
    """
    unpriced: int = 0
    """Of the requests, those that left the network for a model that nobody has a price for."""

    def __add__(self, more: "Amounts") -> "Amounts":
        return Amounts(
            self.requests + more.requests,
            self.prompt_tokens + more.prompt_tokens,
            self.completion_tokens + more.completion_tokens,
            self.cached_tokens + more.cached_tokens,
            self.cache_write_tokens + more.cache_write_tokens,
            self.cost_nano_usd + more.cost_nano_usd,
            self.estimated + more.estimated,
            self.unpriced + more.unpriced,
        )

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


NOTHING = Amounts()


class Used(Struct, frozen=True, array_like=True):
    day: str
    """In UTC, such as ``2026-11-26``: the one in which the request ended."""
    item: Item
    amounts: Amounts


class UsageReport(Message, frozen=True, kw_only=True):
    """What a gateway served since its report before. Kept by the stream USED."""

    gateway: GatewayId
    boot: str
    number: int
    """From 1, of this boot. The next is said when this one is kept."""
    used: tuple[Used, ...]


class Mark(Struct, frozen=True, array_like=True):
    """A place in the stream of reports. One of another stream is before all of this one."""

    stream: str = ""
    """Which it is: when it was made."""
    sequence: int = 0

    def is_past(self, stream: str, sequence: int) -> bool:
        return self.stream == stream and self.sequence >= sequence


class Book(Message, frozen=True, kw_only=True, tag="day"):
    """A day."""

    counted: Mark = Mark()
    rows: tuple[tuple[Item, Amounts], ...] = ()


class Head(Message, frozen=True, kw_only=True, tag="head"):
    """How far all books are, together."""

    counted: Mark = Mark()
    boots: dict[str, int] = field(default_factory=dict)
    """The latest report's number of each life of a gateway, the last heard at the end."""


Entry = tuple[int, Used]
"""With its place in the stream."""


def day_of(at_s: float) -> str:
    """In UTC."""
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def entered(book: Book, stream: str, entries: Iterable[Entry], upto: int) -> Book:
    """With what is not in it yet. It is then made up to ``upto``, or stays where it is."""
    if book.counted.is_past(stream, upto):
        return book
    rows = dict(book.rows)
    for sequence, used in entries:
        if not book.counted.is_past(stream, sequence):
            item = _room_for(used.item, rows)
            rows[item] = rows.get(item, NOTHING) + used.amounts
    return replace(book, counted=Mark(stream, upto), rows=tuple(rows.items()))


def _room_for(item: Item, rows: Mapping[Item, Amounts]) -> Item:
    if item in rows or len(rows) < MOST_ROWS:
        return item
    return replace(item, key=MANY)
