"""A server on loopback that stands for a vendor: how any of them answers, streams and ends."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from tests.unit.cloud.whole import Held

WAIT_S = 0.01
S = TypeVar("S", bound="Loopback")


class Speaker(BaseHTTPRequestHandler):
    """One request. What is said of an answer goes out at once, or together where no stream is
    asked for.
    """

    protocol_version = "HTTP/1.1"
    _held: Held | None = None

    def do_GET(self) -> None:
        self.got()

    def do_POST(self) -> None:
        self.asked(self.rfile.read(int(self.headers["content-length"])))

    def do_DELETE(self) -> None:
        self.dropped()

    def got(self) -> None:
        """A GET."""
        raise NotImplementedError

    def asked(self, content: bytes) -> None:
        """A POST."""
        raise NotImplementedError

    def dropped(self) -> None:
        """A DELETE."""
        raise NotImplementedError

    def hear(self, body: dict[str, Any]) -> None:
        self._held = None if body.get("stream") else Held(self.connection, body["model"])

    def answer(self, status: int, body: Any, **headers: str) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self._write(status, json.dumps(body).encode(), told)

    def begin(self) -> None:
        if self._held is not None:
            self._held.is_begun = True
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()

    def raw(self, text: str) -> None:
        if self._held is not None:
            self._held.add(text)
            return
        self.wfile.write(text.encode())
        self.wfile.flush()

    def finish_whole(self, whole: Callable[[list[str], str], tuple[int, bytes, bool]]) -> None:
        """Of an answer that is no stream, what was held."""
        held, self._held = self._held, None
        if held is None or not held.is_begun:
            return
        status, body, is_all = whole(held.data(), held.model)
        self.close_connection = True
        self._write(status, body, {}, missing=not is_all)

    def _write(
        self, status: int, content: bytes, headers: dict[str, str], *, missing: bool = False
    ) -> None:
        """``missing``: it ends before as much came as was announced."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content) + missing))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Loopback:
    """Each request has a thread. ``left`` is set when a client left, and at the end."""

    def __init__(self, speaker: type[Speaker]) -> None:
        self.left = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), speaker)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @classmethod
    @contextmanager
    def running(cls: type[S]) -> Iterator[S]:
        upstream = cls()  # type: ignore[call-arg]
        thread = threading.Thread(target=upstream._server.serve_forever, args=(WAIT_S,))
        thread.start()
        try:
            yield upstream
        finally:
            upstream.left.set()
            upstream._server.shutdown()
            thread.join()
            upstream._server.server_close()
