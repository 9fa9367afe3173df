"""The company of a client that streams while its model is being loaded."""

import time
from collections.abc import Callable

from services.gateway.answering.wire import Events
from services.gateway.http.exchange import Exchange, Headers

BEGIN_S = 1.0
"""A wait that is over sooner needs no company: what goes wrong then still has its own status."""
EVERY_S = 3.0
"""Between two signs of life: the strictest proxies cut off what is silent for five seconds."""


class KeepAlive:
    """Begins the response of a client that waits long, and tells it now and then why.

    From then on what goes wrong is said in the stream, as its last words.
    """

    def __init__(
        self,
        exchange: Exchange,
        headers: Headers,
        events: Callable[[], Events],
        opening: Callable[[], bytes] = bytes,
    ) -> None:
        """``opening`` makes what the dialect says first of all. Most requests need neither."""
        self._exchange = exchange
        self._headers = headers
        self._make_events = events
        self._opening = opening
        self._next = 0.0

    async def tell(self, waits_for: str) -> None:
        now = time.monotonic()
        if not self._next:
            self._next = now + BEGIN_S
        if now < self._next:
            return
        self._next = now + EVERY_S
        events = self._make_events()
        sign = events.waiting(waits_for)
        if not self._exchange.is_started:
            self._exchange.last_words = events.failed
            await self._exchange.begin(200, self._headers)
            sign = self._opening() + sign
        await self._exchange.write(sign)
