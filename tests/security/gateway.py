"""A gateway process of its own on a real bus, with little patience, and raw sockets to it."""

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mesh.house import ROOT, free_port, until

LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Gateway:
    port: int
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def said(self, *pieces: bytes) -> bytes:
        """All that is answered until the gateway hangs up."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return read(client)

    def statuses(self, *pieces: bytes) -> list[int]:
        return [int(status) for status in LINE.findall(self.said(*pieces))]


def read(client: socket.socket) -> bytes:
    """Until the other end hangs up."""
    said = b""
    while piece := client.recv(65536):
        said += piece
    return said


def read_answer(client: socket.socket) -> bytes:
    """One answer that says its length."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(65536) or _end()
    head, _, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    while len(body) < int(length[1]):
        body += client.recv(65536) or _end()
    return head + b"\r\n\r\n" + body


def _end() -> bytes:
    raise AssertionError("the gateway hung up")


@contextmanager
def running(nats_url: str, home: Path, told: Mapping[str, str]) -> Iterator[Gateway]:
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = home / "gateway.log"
    settings = {"ODYSSAI_NATS": nats_url, "ODYSSAI_HOME": str(home), "ODYSSAI_PORT": str(port)}
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"],
            env={**os.environ, **settings, **told, "PYTHONPATH": str(ROOT)},
            stderr=opened,
        )
    gateway = Gateway(port, home, process, log)
    try:
        until(gateway.is_up, 40, "the gateway listens")
        yield gateway
    finally:
        process.terminate()
        process.wait(20)


def secured(client: socket.socket, trusted: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(trusted))
    return context.wrap_socket(client, server_hostname="localhost")


def elapsed_s(since: float) -> float:
    return time.monotonic() - since
