"""The HTTP server: uvicorn, told to leave signals and logging alone."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config, Server

from services.gateway.http.connection import HANG_UP, Connection
from services.gateway.http.crowd import Bounds, Crowd
from services.gateway.http.handshakes import Handshakes
from services.gateway.http.listening import BACKLOG
from services.gateway.http.loopback import is_loopback
from services.gateway.http.protection import ALWAYS, STRICT_TRANSPORT
from services.gateway.http.tls import Tls
from services.host import HANDOVER_S

LOOK_S = 1.0
PARTING_LOOK_S = 0.02
KEEP_ALIVE_S = 75
"""Longer than clients' pools keep an idle connection, so that the client is the one to close it."""


class HttpServer(Server):
    def __init__(self, app: Any, bounds: Bounds, tls: Tls | None = None) -> None:
        super().__init__(
            Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                # Open requests are ended by the gateway itself; this is for what it cannot end.
                timeout_graceful_shutdown=int(HANDOVER_S) + 60,
            )
        )
        self.servers = []
        self._crowd = Crowd(bounds)
        self._tls = tls
        self._handshakes: list[Handshakes] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, for connections of our kind."""
        loop = asyncio.get_running_loop()
        assert sockets, "the gateway listens before it has a server"
        beyond = not all(is_loopback(str(one.getsockname()[0])) for one in sockets)
        strict = [STRICT_TRANSPORT] if self._tls and beyond else []
        self.config.encoded_headers = [*ALWAYS, *strict]
        await self.on_tick(0)
        if self._tls is not None:
            context = self._tls.context
            self._handshakes = [
                Handshakes(one, context, self._crowd, self._connection) for one in sockets
            ]
        else:
            self.servers = [
                await loop.create_server(self._connection, sock=one, backlog=BACKLOG)
                for one in sockets
            ]
        self.started = True

    def accept_no_more(self) -> None:
        """Whoever connects now is for another process, where one listens on the same socket."""
        for server in self.servers:
            server.close()
        for handshakes in self._handshakes:
            handshakes.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.accept_no_more()
        for handshakes in self._handshakes:
            handshakes.abort()
        await super().shutdown(sockets)

    async def part(self, linger_s: float) -> None:
        """Every connection ends with its next answer; return when none is left.

        Whoever would close one at once might do so in the moment in which its client asks again:
        the end of a stream that began before says nothing of it. So it stays until its client has
        asked nothing for ``linger_s``.
        """
        self.config.encoded_headers = [*self.config.encoded_headers, HANG_UP]
        self.server_state.default_headers = [*self.server_state.default_headers, HANG_UP]
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Connection), "startup makes no others"
            connection.part(linger_s)
        while self.server_state.connections:
            await asyncio.sleep(PARTING_LOOK_S)

    async def give_up_stalled(self, stall_s: float) -> None:
        """Cut, for ever, every client that takes nothing for so long of what is sent to it."""
        while True:
            await asyncio.sleep(min(LOOK_S, stall_s / 4))
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Connection), "startup makes no others"
                connection.outlet.look(now, stall_s)

    def _connection(self, on_made: Callable[[], None] = lambda: None) -> Connection:
        return Connection(self.config, self.server_state, self._crowd, on_made)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the host's."""
        yield
