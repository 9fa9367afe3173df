"""One HTTP request and its response, over bare ASGI: bodies, replies, and who left when."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote

from proto.errors import Code, MeshError
from proto.ids import RequestId, fresh
from services.gateway.http.coding import WORTHWHILE, closed, opened, takes_gzip, too_large
from services.gateway.http.outlet import OUTLET, Outlet
from services.gateway.http.query import Query

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

LONGEST_ID = 512
SLOWEST_BYTES_S = 500
"""Of a body, once the client's time to begin with it is over."""
JSON = (b"content-type", b"application/json")
EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ClientLeft(Exception):
    """The client closed its connection before it was answered."""


class ClientStalled(ClientLeft):
    """The client took nothing of its answer for so long that its connection was cut."""


class Exchange:
    """Entered with ``async with``, it interrupts the task inside as soon as the client leaves.

    That holds in every phase, since a client that left shows as a disconnect on
    ``receive``, whatever the task is waiting for. What comes out of the block
    then is ClientLeft, or what ``interrupt`` was given.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.id = RequestId(fresh())
        self.known_as = self.id
        """Its id among engines: another one where it goes on with what a dead gateway had asked."""
        self.method: str = scope["method"]
        # Litestar cuts a mount's own part off ``path``.
        self.path = unquote(scope["raw_path"].decode())
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.peer: str = (scope.get("client") or ("",))[0]
        """The address at the other end of the socket; empty where it has none."""
        self.patience_s = 30.0
        """How long a body may take beyond what its bytes take at the slowest rate."""
        self.standing: Headers = []
        """Said with every response, whatever comes of the request."""
        self.is_started = False
        self.is_complete = False
        self.last_words: Callable[[MeshError], bytes] | None = None
        """How a response that has begun says that it cannot go on."""
        self._began = time.monotonic()
        self._outlet: Outlet | None = scope.get("state", {}).get(OUTLET)
        self._query: bytes = scope.get("query_string", b"")
        self._body: bytes | None = None
        self._receive = receive
        self._send = send
        self._why: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def speaks_anthropic(self) -> bool:
        """By its path, or by what the client shows."""
        return self.path.startswith("/v1/messages") or b"anthropic-version" in self.headers

    @property
    def query(self) -> Query:
        return parse_qs(self._query.decode("latin-1"), keep_blank_values=True)

    @property
    def search(self) -> str:
        """The query as it came, with its question mark; empty where there is none."""
        return f"?{self._query.decode('latin-1')}" if self._query else ""

    @property
    def client_id(self) -> str | None:
        """What the client calls the request, if that is fit to be repeated. Never our own id:
        engines take a known id for the same request.
        """
        named = self.header(b"x-client-request-id") or self.header(b"x-request-id") or ""
        is_fit = len(named) <= LONGEST_ID and named.isascii() and named.isprintable()
        return named if named and is_fit else None

    async def body(self, limit_bytes: int) -> bytes:
        """What the client sent, out of its compression; the same however often it is asked for.

        Raises MeshError when it is larger, without having read the rest; ClientLeft.
        """
        if self._body is None:
            sent = await self._sent(limit_bytes)
            self._body = await opened(sent, self.header(b"content-encoding") or "", limit_bytes)
        return self._body

    async def _sent(self, limit_bytes: int) -> bytes:
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise too_large(limit_bytes)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._next(size)
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit_bytes:
                raise too_large(limit_bytes)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _next(self, received: int) -> MutableMapping[str, Any]:
        """The next piece of a body of which so many bytes are here."""
        patience_s = self.patience_s + received / SLOWEST_BYTES_S
        left_s = self._began + patience_s - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._receive()
        except TimeoutError:
            raise MeshError(
                Code.SLOW_CLIENT,
                f"Only {received} bytes of the body came within {patience_s:.0f} s; send it "
                "faster, or less.",
            ) from None

    async def reply(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """The whole response at once, in gzip where that is worth it and the client reads it."""
        said = headers or [JSON]
        if len(body) >= WORTHWHILE:
            said = [*said, (b"vary", b"accept-encoding")]
            if takes_gzip(self.header(b"accept-encoding") or ""):
                said.append((b"content-encoding", b"gzip"))
                body = await closed(body)
        length = (b"content-length", str(len(body)).encode())
        await self.begin(status, [length, *said])
        await self.write(body, more=False)

    async def begin(self, status: int, headers: Headers) -> None:
        self.is_started = True
        said = [*headers, *self.signature(), *self.standing]
        await self._send({"type": "http.response.start", "status": status, "headers": said})

    def signature(self) -> Headers:
        """The request's ids, and how long it took until now."""
        took_ms = int(1000 * (time.monotonic() - self._began))
        names = [
            (b"x-request-id", self.id.encode()),
            (b"request-id", self.id.encode()),
            (b"openai-processing-ms", str(took_ms).encode()),
        ]
        if self.client_id is not None:
            names.append((b"x-client-request-id", self.client_id.encode()))
        return names

    async def write(self, body: bytes, more: bool = True) -> None:
        # Before the send: it wakes the watch, which must not take the end for a disconnect.
        self.is_complete = not more
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def interrupt(self, why: Exception) -> None:
        """End the block in the middle of whatever it waits for."""
        if self._why is None and self._task is not None and not self.is_complete:
            self._why = why
            self._task.cancel()

    async def __aenter__(self) -> "Exchange":
        self._task = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait_for_disconnect())
        return self

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        is_given_up = self._outlet is not None and self._outlet.is_given_up
        self.interrupt(ClientStalled() if is_given_up else ClientLeft())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._watch is not None
        assert self._task is not None
        self._watch.cancel()
        task, self._task = self._task, None
        if self._why is not None and task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise self._why from None
