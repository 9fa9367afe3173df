"""Asking the servers that keep state, also while they choose who leads it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
from nats.js.errors import (
    APIError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    ServiceUnavailableError,
)

from bus.connection import Bus, uncaught
from bus.errors import Conflict, NotConnected

T = TypeVar("T")

AWAY_S = 12.0
"""Of three servers that lost one, the others need four to nine seconds for that."""
AGAIN_S = 0.1
_AWAY = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    NoStreamResponseError,
    ServiceUnavailableError,
)
_ANSWERS = (KeyNotFoundError, KeyDeletedError)
_WRONG_REVISION = (10071, 10164)
"""The server's codes for a record that is not at the revision that was named."""


async def patiently(bus: Bus, act: Callable[[], Awaitable[T]]) -> T:
    """What ``act`` comes to; done again where nobody answered, so it must bear that.

    Lets those errors of nats-py through that say what there is. Raises Conflict, NotConnected:
    at once where the connection is down, else after AWAY_S.
    """
    end = time.monotonic() + AWAY_S
    while True:
        try:
            return await uncaught(act())
        except _ANSWERS:
            raise
        except _AWAY as error:
            if not bus.is_connected or time.monotonic() > end:
                raise NotConnected(str(error) or type(error).__name__) from error
        except (nats.errors.Error, OSError) as error:
            if _is_conflict(error):
                raise Conflict(str(error)) from error
            raise NotConnected(str(error) or type(error).__name__) from error
        await asyncio.sleep(AGAIN_S)


def _is_conflict(error: Exception) -> bool:
    if isinstance(error, KeyWrongLastSequenceError):
        return True
    return isinstance(error, APIError) and error.err_code in _WRONG_REVISION
