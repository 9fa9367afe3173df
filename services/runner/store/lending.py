"""Files for peers: an HTTP server of the agent's own, which knows nothing but what was lent.

Whoever shows a loan's ticket gets the files of that loan, whole or in ranges; a path is only ever
looked up among them, so that there is none to anything else.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uvicorn import Config, Server

from services.runner.store.parts import Part

LOAN_S = 600.0
"""A loan ends when nobody came for so long."""
_PIECE = 1 << 20
_SCHEME = "Bearer "

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class _Loan:
    def __init__(self, files: dict[str, Path], now: float) -> None:
        self.files = files
        self.used = now


class Lending:
    """An ASGI app, and the loans that it honours."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._loans: dict[str, _Loan] = {}

    def lend(self, parts: Iterable[Part]) -> str:
        """The ticket."""
        self._end_loans()
        ticket = secrets.token_urlsafe(32)
        self._loans[ticket] = _Loan({part.path: part.file for part in parts}, self._now())
        return ticket

    def _end_loans(self) -> None:
        oldest = self._now() - LOAN_S
        self._loans = {ticket: one for ticket, one in self._loans.items() if one.used >= oldest}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        said = headers.get(b"authorization", b"").decode("latin-1")
        self._end_loans()
        loan = self._loans.get(said.removeprefix(_SCHEME)) if said.startswith(_SCHEME) else None
        if loan is None:
            return await _refuse(send, 401)
        file = loan.files.get(scope["path"].removeprefix("/"))
        if file is None or scope["method"] != "GET":
            return await _refuse(send, 404)
        try:
            size = file.stat().st_size
            start, end = range_of(headers.get(b"range", b"").decode("latin-1"), size)
        except (OSError, ValueError):
            return await _refuse(send, 416)
        await send(_head(start, end, size, is_whole=b"range" not in headers))
        return await self._send_body(loan, file, (start, end), receive, send)

    async def _send_body(
        self, loan: _Loan, file: Path, span: tuple[int, int], receive: Receive, send: Send
    ) -> None:
        leaving = asyncio.create_task(_left(receive))
        try:
            with file.open("rb") as opened:
                at, end = span
                opened.seek(at)
                while at < end and not leaving.done():
                    piece = await asyncio.to_thread(opened.read, min(_PIECE, end - at))
                    at += len(piece)
                    loan.used = self._now()
                    await send({"type": "http.response.body", "body": piece, "more_body": at < end})
                    if not piece:
                        return  # It became shorter: the borrower sees that bytes are missing.
            if at == end == span[0]:
                await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()


def range_of(said: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last. Raises ValueError for what a file does not have."""
    if not said:
        return 0, size
    unit, _, span = said.partition("=")
    first, _, last = span.partition("-")
    start, end = int(first), int(last) + 1 if last else size
    if unit != "bytes" or not 0 <= start < end <= size:
        raise ValueError(said)
    return start, end


def _head(start: int, end: int, size: int, *, is_whole: bool) -> dict[str, Any]:
    headers = [(b"content-length", b"%d" % (end - start)), (b"accept-ranges", b"bytes")]
    if not is_whole:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
    status = 200 if is_whole else 206
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


# The server


def listen(host: str) -> socket.socket:
    """On a port that the system chooses. Raises OSError."""
    family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((host, 0), family=family)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Quiet(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the host's."""
        yield


async def serve(lending: Lending, listener: socket.socket) -> None:
    """For ever."""
    config = Config(
        lending, loop="none", http="httptools", ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = server.force_exit = True
        await serving
