"""The side that is measured: a port for a moment, for whoever shows the ticket."""

import asyncio
import hmac
import secrets
import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_address

from proto.link import TICKET_BYTES
from services.runner.links import wire
from services.runner.links.wire import (
    BULK_S,
    PATIENCE_S,
    PIECE,
    PING_BYTES,
    WHOLE_S,
    read_exactly,
)

OPEN_S = 6.0
"""From the ticket on: more than trying every address takes."""
LOOK_S = 0.1
"""Between two looks at whether this is over."""
MOST_PINGS = 64
"""Of one connection."""


class Responder:
    """Open for one asker, until that has tried all addresses."""

    def __init__(self, usual: str, bulk_bytes: int) -> None:
        """Raises OSError."""
        self.ticket = secrets.token_bytes(TICKET_BYTES)
        self._bulk_bytes = bulk_bytes
        self._over = threading.Event()
        self._listener = _listen(usual)
        self.port: int = self._listener.getsockname()[1]

    async def serve(self) -> None:
        """Until the asker is done, or it was open for long enough."""
        serving = asyncio.get_running_loop().run_in_executor(None, self._serve)
        try:
            await asyncio.shield(serving)
        finally:
            self._over.set()

    def _serve(self) -> None:
        end = time.monotonic() + OPEN_S
        with self._listener:
            self._listener.settimeout(LOOK_S)
            while not self._over.is_set() and time.monotonic() < end:
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                # Who went, or whose link did, knows how far it came.
                with connection, suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Who has no ticket gets no byte. Raises OSError."""
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + WHOLE_S
        if not hmac.compare_digest(read_exactly(connection, TICKET_BYTES, end), self.ticket):
            return
        connection.sendall(self.ticket[::-1])
        for _ in range(MOST_PINGS):
            match read_exactly(connection, PING_BYTES, end):
                case wire.PING:
                    connection.sendall(wire.PING)
                case wire.BULK:
                    self._send_bulk(connection)
                    return
                case wire.DONE:
                    self._over.set()
                    return
                case _:
                    return

    def _send_bulk(self, connection: socket.socket) -> None:
        left, end = self._bulk_bytes, time.monotonic() + BULK_S
        while left > 0 and time.monotonic() < end and not self._over.is_set():
            connection.sendall(PIECE[: min(left, len(PIECE))])
            left -= len(PIECE)


def _listen(usual: str) -> socket.socket:
    """At every address, but where the usual one leads nowhere else."""
    address = ip_address(usual)
    if address.is_loopback:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        return socket.create_server((usual, 0), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
