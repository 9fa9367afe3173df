"""A link of a known length: what passes it is late by so much, each way."""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 64 << 10


@contextmanager
def slow_way(port: int, late_s: float) -> Iterator[int]:
    """The port at which whoever listens at ``port`` is further away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, port, late_s), daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


def _accept(listener: socket.socket, port: int, late_s: float) -> None:
    pumps: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pumps.append(threading.Thread(target=_pump, args=(one, other, late_s), daemon=True))
                pumps[-1].start()
    for pump in pumps:
        pump.join(5)


def _pump(source: socket.socket, sink: socket.socket, late_s: float) -> None:
    """Read at once, and passed on when it is due: what is on its way does not delay the next."""
    on_its_way: deque[tuple[float, bytes]] = deque()
    news = threading.Condition()

    def deliver() -> None:
        with suppress(OSError):
            while True:
                with news:
                    news.wait_for(lambda: on_its_way)
                    due, piece = on_its_way.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                if not piece:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(piece)

    delivering = threading.Thread(target=deliver, daemon=True)
    delivering.start()
    piece = b"all"
    while piece:
        try:
            piece = source.recv(PIECE)
        except OSError:
            piece = b""
        with news:
            on_its_way.append((time.monotonic() + late_s, piece))
            news.notify()
    delivering.join(5)
    with suppress(OSError):
        source.close()
