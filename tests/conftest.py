"""What all tests share: a real bus server and a connection to it."""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.connection import Bus
from proto.ids import fresh
from tests.tiny import make_tiny

pytest_plugins = ["tests.mesh.fixtures"]
"""Whole meshes, for tests/mesh, tests/faults and tests/security."""


@pytest.fixture(autouse=True)
def ends_by_no_pipe() -> Iterator[None]:
    """Some commands end without a word when nobody reads them; this process must not, whatever it
    writes to once it has run one.
    """
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


class NatsServer:
    """A real nats-server that a test may kill and start again on the same port."""

    def __init__(self, folder: Path, log: Path = Path(os.devnull), host: str = "127.0.0.1") -> None:
        self._folder = folder
        self._log = log
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._port = -1

    @property
    def url(self) -> str:
        return f"nats://{self._host}:{self._port}"

    def start(self) -> None:
        ports = self._folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir(parents=True)
        config = self._folder / "nats.conf"
        config.write_text(
            f"host: {self._host}\nport: {self._port}\nports_file_dir: '{ports}'\n"
            "max_payload: 8MB\nno_fast_producer_stall: true\nwrite_deadline: '2s'\n"
            f"jetstream {{ store_dir: '{self._folder / 'js'}' }}\n"
        )
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", config], stdout=log, stderr=log)
        self._port = _port(ports, self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        for file in folder.glob("*.ports"):
            text = file.read_text()
            if text.endswith("}"):
                return int(json.loads(text)["nats"][0].rpartition(":")[2])
        time.sleep(0.005)
    raise AssertionError("nats-server did not start")


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own, to be killed and restarted."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with Bus.connect(nats_url, f"test:{fresh()}") as bus:
        yield bus


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; served as ``tiny``."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a context in which a prompt takes seconds to read; served as ``roomy``."""
    folder = tmp_path_factory.mktemp("models") / "roomy"
    return make_tiny(folder, context_length=65536)


@pytest.fixture(scope="session")
def smollm2_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where SmolLM2 is unpacked by whoever needs it first."""
    return tmp_path_factory.mktemp("smollm2")
