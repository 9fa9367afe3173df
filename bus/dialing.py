"""One connection to the bus server: made once, and made again for ever."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import Client

from bus.address import Address
from bus.errors import NotConnected, TurnedAway

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.05
"""A restarted server is found again within a tenth of a second; the default waits 2 s."""
PING_INTERVAL_S = 0.4
MOST_PINGS = 12
"""A connection on which so many have no answer is given up and made anew."""
FIRST_CONNECT_S = 30.0
"""How long a starting process waits for the bus server."""
SETTLE_S = 1.0
"""Far longer than a server takes to answer that is there."""
SEED_LOOK_S = 1.0
"""How often the file with the seed is looked at."""
REFUSALS, REFUSED_WAIT_S = 2, 0.5
"""So many in a row, with that time between them, are an answer: a server that reads its settings,
as for every key that is rotated, refuses once whoever is at its door at that moment."""
TURNED_AWAY_WAIT_S = 1.0
"""Who was turned away does not knock again meanwhile: it takes a person to change the answer."""


def _says_something(record: logging.LogRecord) -> bool:
    """nats-py 2.16 puts TLS below asyncio's streams, which then warn of it at every close."""
    return "eof_received() has no effect" not in record.getMessage()


logging.getLogger("asyncio").addFilter(_says_something)


async def dial(
    url: str,
    name: str,
    on_reconnect: Callable[[], None],
    on_refusal: Callable[[], None] = lambda: None,
    within_s: float | None = None,
    **options: Any,
) -> Client:
    """One NATS connection that reconnects for ever. ``url`` is a ``bus.address``.

    Raises TurnedAway, or NotConnected after ``within_s`` (None: FIRST_CONNECT_S). ``on_refusal``
    hears when a server that once let us in does so no longer; the connection is then closed.
    """
    line = _Line(Address.parse(url), on_reconnect, on_refusal)
    await line.connect(name, FIRST_CONNECT_S if within_s is None else within_s, options)
    return line.client


async def settled(client: Client) -> None:
    """Return when the server has all that was written, and we all that it had for us.

    A connection that is down has nothing to settle, and is not waited for.
    """
    if client.is_connected:
        flushing = asyncio.ensure_future(client.flush())
        flushing.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Late, it goes on alone: nats-py 2.16 cannot take an answer that nobody waits for.
        await asyncio.wait({flushing}, timeout=SETTLE_S)


async def hang_up(client: Client) -> None:
    """Close it, whatever has become of its socket."""
    # nats-py says its last words to a socket that may have died a moment ago, which is an error of
    # the socket, or of uvloop.
    with contextlib.suppress(RuntimeError, ConnectionError):
        await client.close()


class _Line:
    """A client of nats-py, and what it calls when something happens to its connection."""

    def __init__(
        self, address: Address, on_reconnect: Callable[[], None], on_refusal: Callable[[], None]
    ) -> None:
        self.client = Client()
        self._address = address
        self._on_reconnect = on_reconnect
        self._on_refusal = on_refusal
        self._was_in = False
        self._refusals = 0
        """In a row."""
        self._last: Exception | None = None
        self._closing: asyncio.Task[None] | None = None
        """Held, as asyncio itself holds no task."""
        self._seed = address.seed_text()
        self._watching: asyncio.Task[None] | None = None

    async def connect(self, name: str, within_s: float, options: dict[str, Any]) -> None:
        """Raises TurnedAway and NotConnected."""
        try:
            async with asyncio.timeout(within_s):
                await self._connect(name, options)
        except TurnedAway:
            await self.client.close()
            raise
        except (nats.errors.Error, OSError, TimeoutError) as error:
            why = self._last or error
            raise NotConnected(
                f"no bus at {self._address.shown}: {why or type(why).__name__}; "
                "is nats-server running there?"
            ) from error
        self._was_in, self._refusals = True, 0
        if self._address.seed is not None:
            self._watching = asyncio.create_task(self._watch_seed())

    async def _watch_seed(self) -> None:
        """A new seed in the file is taken up at once: the old key is good for a moment only."""
        while True:
            await asyncio.sleep(SEED_LOOK_S)
            if self._takes_new_seed():
                log.info("bus: a new key, connecting anew")
                await self.client.force_reconnect()

    def _takes_new_seed(self) -> bool:
        found = self._address.seed_text()
        if found in ("", self._seed):
            return False
        self._seed = found
        # nats-py 2.16 reads the seed at each connection, but the public key only at the first.
        self.client._setup_nkeys_seed_connect()
        return True

    async def _connect(self, name: str, options: dict[str, Any]) -> None:
        await self.client.connect(
            **self._address.dialled(name),
            name=name,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type] # it only sleeps
            max_reconnect_attempts=-1,
            connect_timeout=2,
            ping_interval=PING_INTERVAL_S,  # type: ignore[arg-type] # as above
            max_outstanding_pings=MOST_PINGS,
            error_cb=self._failed,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            **options,
        )

    async def _failed(self, error: Exception) -> None:
        self._last = error
        if self._has_lost_seed():
            await self._refused(error)
        elif _is_refusal(error):
            self._refusals += 1
            if self._was_in and self._refusals < REFUSALS:
                log.info("bus: refused, which is asked once more")
                if self.client._transport is not None:
                    self.client._transport.close()  # nats-py 2.16 would leave it open.
                await asyncio.sleep(REFUSED_WAIT_S)
            else:
                await self._refused(error)
        elif not isinstance(error, nats.errors.UnexpectedEOF | ConnectionError | OSError):
            log.warning("bus: %s", str(error) or type(error).__name__)

    async def _refused(self, error: Exception) -> None:
        if not self._was_in:
            raise _turned_away(self._address) from error
        self._on_refusal()
        # For good, so that nobody waits for answers. This ends the reconnecting that called us.
        self._closing = asyncio.create_task(self.client.close())
        await asyncio.sleep(TURNED_AWAY_WAIT_S)

    async def _closed(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self.client.last_error is not None and _is_refusal(self.client.last_error):
            self._on_refusal()

    def _has_lost_seed(self) -> bool:
        """The home removes the seed of whom it withdraws."""
        return self._was_in and bool(self._seed) and not self._address.seed_text()

    async def _disconnected(self) -> None:
        log.info("bus: disconnected, reconnecting")
        self._takes_new_seed()

    async def _reconnected(self) -> None:
        log.info("bus: reconnected")
        self._refusals = 0
        self._on_reconnect()


def _is_refusal(error: Exception) -> bool:
    """By its words: at the first connection nats-py gives it no type of its own."""
    words = str(error).lower()
    return "authorization violation" in words or "authentication revoked" in words


def _turned_away(address: Address) -> TurnedAway:
    remedy = (
        f"its credential{_named(address)} was withdrawn, or is of another mesh; what joined joins "
        "again with a new invitation, what is of its home starts again with `odyssai up`"
        if address.seed
        else "are user and password in its URL right?"
    )
    return TurnedAway(f"the bus at {address.shown} turns us away: {remedy}")


def _named(address: Address) -> str:
    return f" {address.holder}" if address.holder else ""
