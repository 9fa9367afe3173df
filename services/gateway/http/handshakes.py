"""TLS before HTTP: who is at its handshake counts as a connection, from the first packet on.

A server of asyncio's tells of a client only when its handshake is over, so that any number of
them could be begun and left.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from services.gateway.http.crowd import Crowd

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Before the next client is accepted, when the system had no descriptor for one."""

Greet = Callable[[Callable[[], None]], asyncio.Protocol]
"""Makes the connection that follows a handshake, and calls what it is given as it begins."""


class Handshakes:
    """Accepts the clients of one listening socket, until it is closed."""

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, crowd: Crowd, greet: Greet
    ) -> None:
        self._listener = listener
        self._context = context
        self._crowd = crowd
        self._greet = greet
        self._running: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no more; whoever is at its handshake may end it."""
        self._accepting.cancel()

    def abort(self) -> None:
        for task in self._running:
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._listener:
            while True:
                try:
                    client, (address, *_) = await loop.sock_accept(self._listener)
                except OSError as error:
                    log.warning("a connection could not be accepted: %s", error)
                    await asyncio.sleep(RETRY_S)
                    continue
                task = asyncio.create_task(self._shake(client, str(address)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _shake(self, client: socket.socket, address: str) -> None:
        place = _Place(self._crowd, address)
        try:
            if place.verdict == "turned away":
                client.close()
                return
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._greet(place.leave),
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._crowd.patience_s,
            )
        except (OSError, TimeoutError) as error:
            log.debug("a handshake with %s failed: %s", address, error)
        finally:
            if place.is_taken:
                place.leave()


class _Place:
    """In the crowd, of one client until its connection has one of its own."""

    def __init__(self, crowd: Crowd, address: str) -> None:
        self.verdict = crowd.enter(address)
        self.is_taken = True
        self._crowd = crowd
        self._address = address

    def leave(self) -> None:
        self.is_taken = False
        self._crowd.leave(self._address)
