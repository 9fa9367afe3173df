"""The HTTP server: uvicorn, told to leave signals and logging alone."""

import asyncio
import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config, Server

from services.gateway.http.connection import Connection
from services.gateway.http.crowd import Bounds, Crowd
from services.gateway.http.loopback import is_loopback
from services.gateway.http.protection import ALWAYS, STRICT_TRANSPORT
from services.gateway.http.tls import Tls
from services.host import SettingError

LOOK_S = 1.0
BACKLOG = 4096
KEEP_ALIVE_S = 75
"""Longer than clients' pools keep an idle connection, so that the client is the one to close it."""


def listen(host: str, port: int) -> socket.socket:
    """Raises SettingError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "another process has it; choose another ODYSSAI_PORT" if taken else "check both"
        raise SettingError(
            f"ODYSSAI_HOST {host!r} and ODYSSAI_PORT {port} cannot be listened on: "
            f"{error.strerror or error}; {remedy}"
        ) from error
    listener.setblocking(False)
    return listener


class HttpServer(Server):
    def __init__(self, app: Any, drain_s: float, bounds: Bounds, tls: Tls | None = None) -> None:
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
                timeout_graceful_shutdown=int(drain_s) + 2,
            )
        )
        self._crowd = Crowd(bounds)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, for connections of our kind."""
        loop = asyncio.get_running_loop()
        assert sockets, "the gateway listens before it has a server"
        beyond = not all(is_loopback(str(one.getsockname()[0])) for one in sockets)
        strict = [STRICT_TRANSPORT] if self._tls and beyond else []
        self.config.encoded_headers = [*ALWAYS, *strict]
        await self.on_tick(0)
        context = self._tls.context if self._tls else None
        self.servers = [
            await loop.create_server(
                lambda: Connection(self.config, self.server_state, self._crowd),
                sock=one,
                ssl=context,
                backlog=BACKLOG,
                ssl_handshake_timeout=self._crowd.patience_s if context else None,
            )
            for one in sockets
        ]
        self.started = True

    async def give_up_stalled(self, stall_s: float) -> None:
        """Cut, for ever, every client that takes nothing for so long of what is sent to it."""
        while True:
            await asyncio.sleep(min(LOOK_S, stall_s / 4))
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Connection), "startup makes no others"
                connection.outlet.look(now, stall_s)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the host's."""
        yield
