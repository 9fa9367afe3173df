"""What may stand behind a flag."""

import argparse
from datetime import UTC, datetime, timedelta

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
AMOUNTS = {"k": 1000, "M": 10**6, "G": 10**9}
SPANS = {"": "in_all", "day": "per_day", "month": "per_month"}


def port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def alias(text: str) -> str:
    name, _, model = text.partition("=")
    if not name.strip() or not model.strip() or "," in text:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=MODEL")
    return text


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def names(text: str) -> list[str]:
    """``a,b``."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found or len(found) != len(set(found)):
        raise argparse.ArgumentTypeError(f"{text} is no list of names; write a,b")
    return found


def duration(text: str) -> float:
    """Seconds: of ``90``, ``90s``, ``30m``, ``2h`` or ``7d``."""
    number, unit = (text, "s") if text[-1:].isdigit() else (text[:-1], text[-1:])
    if not number.isdigit() or unit not in UNITS_S:
        raise argparse.ArgumentTypeError(f"{text} is no time; write 90s, 30m, 2h or 7d")
    return float(int(number) * UNITS_S[unit])


def moment(text: str) -> datetime:
    """A time from now on, as of ``duration``, or a date, whose first moment in UTC it is."""
    try:
        if "-" in text:
            told = datetime.fromisoformat(text)
            return told if told.tzinfo else told.replace(tzinfo=UTC)
        return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=duration(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text} is no date; write 2027-01-31") from None


def amount(text: str) -> int:
    """``500``, ``200k`` or ``5M``."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in AMOUNTS else (text, "")
    if not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no amount; write 500, 200k or 5M")
    return int(number) * AMOUNTS.get(unit, 1)


def budget(text: str) -> tuple[str, int]:
    """The setting that ``5M/day``, ``100M/month`` or ``1G`` is a value of, and the value."""
    tokens, _, each = text.partition("/")
    if each not in SPANS:
        raise argparse.ArgumentTypeError(f"{text} is no budget; write 5M/day, 100M/month or 1G")
    return f"tokens_{SPANS[each]}", amount(tokens)


def usd(text: str) -> tuple[str, float]:
    """The setting that ``2.50/day``, ``40/month`` or ``100`` is a value of, and the value."""
    dollars, _, each = text.partition("/")
    try:
        amount = float(dollars)
    except ValueError:
        amount = 0.0
    if each not in SPANS or not 0 < amount <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no budget; write 2.50/day, 40/month or 100")
    return f"usd_{SPANS[each]}", amount
