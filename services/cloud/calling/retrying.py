"""Whether an upstream is asked again after a failure, and when: a decision, fed with all it weighs.

Only what has brought nothing of an answer is asked again. Vendors' own clients do likewise:
https://github.com/openai/openai-python#retries, https://github.com/anthropics/anthropic-sdk-python#retries
"""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from aiohttp import ClientConnectionError, ConnectionTimeoutError, ServerTimeoutError

RETRIES = 2
FIRST_S = 0.25
"""Most that is waited before the first of them; twice as much before each that follows."""
LONGEST_S = 2.0
"""What asks for a longer wait is passed on: to another key, another model, or the client."""
PASSING = frozenset((408, 409, 429, 500, 502, 503, 504, 529))
"""Statuses that may be better in a moment. 529 is Anthropic's word for too busy."""


def may_pass(status: int, headers: Mapping[str, str]) -> bool:
    """An upstream that knows better says so itself."""
    return status in PASSING and headers.get("x-should-retry") != "false"


def is_unheard(error: Exception) -> bool:
    """The question never arrived, or the connection ended before a word of an answer.

    One that arrived and was left without an answer for long may still be worked on, and paid for.
    """
    is_late = isinstance(error, ServerTimeoutError) and not isinstance(
        error, ConnectionTimeoutError
    )
    return isinstance(error, ClientConnectionError) and not is_late


def pause_s(failures: int, told_s: float | None, left_s: float, jitter: float) -> float | None:
    """How long to wait before the next attempt; None: there is none.

    ``told_s`` is what the upstream asks for, and never undercut; ``left_s`` how long the client
    still waits; ``jitter`` is between 0 and 1, and keeps many from coming back together.
    """
    if failures > RETRIES:
        return None
    own_s = min(LONGEST_S, FIRST_S * 2 ** (failures - 1)) * (0.5 + 0.5 * jitter)
    wait_s = max(own_s, told_s or 0.0)
    return wait_s if wait_s <= LONGEST_S and wait_s < left_s else None


def told_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """What an answer says of when to come back: in milliseconds, seconds, or as a date."""
    millis = _number(headers.get("retry-after-ms", ""))
    if millis is not None:
        return millis / 1000
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is not None or not said:
        return seconds
    try:
        at = parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, at - (time.time() if now is None else now))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
