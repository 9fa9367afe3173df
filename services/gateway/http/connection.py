"""One connection of a client, as uvicorn serves it, bounded in time and in size.

uvicorn bounds neither the head of a request nor the time for it, takes trailers for headers, and
loses the body of a request that offers another protocol.
"""

import asyncio
from collections.abc import Callable

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from proto.dialects import openai
from proto.dialects.asked import invalid
from proto.errors import Code, MeshError
from services.gateway.http.crowd import Crowd
from services.gateway.http.head import LARGEST_HEAD, headers_too_large
from services.gateway.http.outlet import OUTLET, Outlet

SURPLUS = "is_surplus"
"""In a scope's state: the request comes on a connection too many, and is to be refused."""
HANG_UP = (b"connection", b"close")
LAST_LOOK_S = 0.02
"""In which a loop that was late reads what came meanwhile."""
_FRAMING = (b"content-length", b"transfer-encoding")


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        crowd: Crowd,
        on_made: Callable[[], None],
    ) -> None:
        super().__init__(config, server_state, {})
        self._crowd = crowd
        self._on_made = on_made
        """Gives up the place in the crowd that its handshake had."""
        self._timer: asyncio.TimerHandle | None = None
        self._address = ""
        self._idle_bytes = 0
        """Received since anything came of it: of a head, a trailer, the frame of a chunk."""
        self._is_between = True
        """No head was read whose message has not ended."""
        self._has_begun = False
        """Of a head, a part is here."""
        self._is_resumed = False
        """The parser reads a head that it was given to go on with a body."""
        self._is_deaf = False
        """Whatever still comes is thrown away."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.outlet = Outlet(transport)
        self._address = self.client[0] if self.client else ""
        self._on_made()
        verdict = self._crowd.enter(self._address)
        if verdict == "turned away":
            transport.abort()
            return
        self.app_state = {SURPLUS: verdict == "surplus", OUTLET: self.outlet}
        self._bound()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unbound()
        self._crowd.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_deaf:
            return
        self._idle_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as broken:
            self._refuse(invalid(f"This is no HTTP that is read here: {broken}."))
            return
        if self._idle_bytes > LARGEST_HEAD:
            self._refuse(headers_too_large())
        elif self._has_begun and self._timer is None:
            self._bound()

    def _feed(self, data: bytes) -> None:
        """As if no other protocol had been offered: HTTP/1.1 lets a server go on."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self._resume()
            else:
                return

    def _resume(self) -> None:
        """A parser that was offered another protocol reads nothing more; another one goes on."""
        head = [b"POST / HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name in _FRAMING:
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self._is_resumed = True
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def on_message_begin(self) -> None:
        if not self._is_resumed:
            self._has_begun = True
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_resumed:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer comes when the request is under way: nothing must change by it any more.
        if self._is_between:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_resumed:
            self._is_resumed = False
            return
        self._is_between = self._has_begun = False
        self._idle_bytes = 0
        self._unbound()
        super().on_headers_complete()

    def on_chunk_complete(self) -> None:
        self._idle_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._idle_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_between = True
        self._idle_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_between:
            # The rest of a body that nobody wants is read for a while, so that the client gets to
            # read the answer.
            self._bound()

    def part(self, linger_s: float) -> None:
        """End with the next answer, or when nothing was asked for so long."""
        self.timeout_keep_alive = linger_s  # type: ignore[assignment]
        if not self._is_answering():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                linger_s, self.timeout_keep_alive_handler
            )
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """Timers go before what has come: a request that is here already takes this one back."""
        self.timeout_keep_alive_task = self.loop.call_later(
            LAST_LOOK_S, super().timeout_keep_alive_handler
        )

    def send_400_response(self, msg: str) -> None:
        self._refuse(invalid(msg))

    def _bound(self) -> None:
        self._unbound()
        self._timer = self.loop.call_later(self._crowd.patience_s, self._out_of_patience)

    def _unbound(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _out_of_patience(self) -> None:
        self._timer = None
        if self._is_answering():
            self._bound()
        elif self._has_begun:
            self._refuse(
                MeshError(
                    Code.SLOW_CLIENT,
                    f"The head of the request did not come within {self._crowd.patience_s:g} s.",
                )
            )
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: MeshError) -> None:
        """Says why, unless an answer has begun or others are to come before, and hangs up."""
        if self._is_deaf or self.transport.is_closing():
            return
        has_begun = self._is_answering() and self.cycle.response_started
        if not has_begun and not self.pipeline:
            if self.cycle is not None:
                self.cycle.disconnected = True
            body = openai.envelope(error)
            said = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                HANG_UP,
            ]
            head = b"".join(b"%b: %b\r\n" % header for header in said)
            self.transport.write(STATUS_LINE[error.code.status] + head + b"\r\n" + body)
        self._hang_up()

    def _hang_up(self) -> None:
        """Once what was said is read: a socket closed on bytes that nobody read loses it."""
        self._is_deaf = True
        self._has_begun = False
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._bound()
        else:
            self.transport.close()
