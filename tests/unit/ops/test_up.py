"""`odyssai up` as a process: a real nats-server under stand-ins for the services."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bus import embedded
from ops import up
from tests.unit.ops import fake_mesh
from tests.unit.ops.fake_mesh import left_of


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Up:
    """A running supervisor."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, fake_mesh.__file__, "mesh", str(home), str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(up.ROOT)},
            text=True,
        )

    def read_until(self, word: str) -> str:
        assert self.process.stdout
        read = ""
        while word not in read:
            line = self.process.stdout.readline()
            assert line, read
            read += line
        return read

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def whole_family(self) -> list[psutil.Process]:
        """Leash, its watch, nats-server, gateway, runner and the runner's engine."""
        end_s = time.monotonic() + 10
        while not any("engine" in name for name in names(self.family())):
            assert time.monotonic() < end_s
            time.sleep(0.01)
        family = self.family()
        assert len(family) == 6, names(family)
        return family

    def end(self) -> None:
        self.process.kill()
        assert self.process.stdout
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Up]:
    mesh = Up(tmp_path / "home")
    yield mesh
    mesh.end()


def names(processes: list[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(" ".join(process.cmdline()[1:]))
    return found


def test_it_says_once_that_it_serves_and_how(mesh: Up) -> None:
    block = mesh.read_until("Ctrl-C ends all.")

    assert block.count("loading tiny …") == 1
    assert f"http://127.0.0.1:{mesh.port}/v1" in block
    assert "Tiny-1B.v2" in block
    assert str(mesh.home / "bus" / "keys") in block
    access = embedded.known_access(mesh.home)
    assert access
    seeds = [file.read_text() for file in (mesh.home / "bus" / "keys").iterdir()]
    assert seeds
    assert not any(seed in block for seed in seeds)


def test_the_printed_curl_line_is_one_that_works(mesh: Up) -> None:
    block = mesh.read_until("Ctrl-C ends all.")
    line = re.search(r"^  curl .*$", block, re.MULTILINE)
    assert line

    # The stand-in knows GET only; what matters is that a shell reads the line as it is meant.
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {line[0]}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert words[1] == f"http://127.0.0.1:{mesh.port}/v1/chat/completions"
    assert words[-1].startswith('{"model": "Tiny-1B.v2"')


def test_ctrl_c_ends_all_with_status_zero(mesh: Up) -> None:
    mesh.read_until("Ctrl-C ends all.")
    family = mesh.whole_family()

    mesh.process.send_signal(signal.SIGINT)

    assert mesh.process.wait(5) == 0
    assert not left_of(family)


def test_nothing_outlives_a_killed_supervisor(mesh: Up) -> None:
    mesh.read_until("Ctrl-C ends all.")
    family = mesh.whole_family()

    mesh.process.kill()

    assert not left_of(family)


def test_nothing_outlives_a_supervisor_that_is_killed_while_it_starts(mesh: Up) -> None:
    end_s = time.monotonic() + 5
    while not (family := mesh.family()):
        assert time.monotonic() < end_s

    mesh.process.kill()

    assert not left_of(family)


def test_a_home_is_free_again_after_its_supervisor_was_killed(mesh: Up) -> None:
    mesh.read_until("Ctrl-C ends all.")
    before = embedded.known_access(mesh.home)
    mesh.process.kill()

    after = Up(mesh.home)
    try:
        after.read_until("Ctrl-C ends all.")

        assert embedded.known_access(mesh.home) == before
    finally:
        family = after.family()
        after.end()
        assert not left_of(family)


def test_a_killed_bus_server_comes_back_where_it_was(mesh: Up) -> None:
    mesh.read_until("Ctrl-C ends all.")
    access = embedded.known_access(mesh.home)
    assert access
    server = next(p for p in mesh.family() if Path(p.exe()).name == "nats-server")

    server.kill()
    mesh.read_until("nats-server ended")

    end_s = time.monotonic() + 2
    while embedded.is_free("127.0.0.1", access.port):
        assert time.monotonic() < end_s


def test_two_on_one_home_are_refused(mesh: Up) -> None:
    mesh.read_until("Ctrl-C ends all.")
    second = odyssai("up", "--home", str(mesh.home), "--port", str(free_port()))

    assert second.returncode == 1
    assert f"already, as process {mesh.process.pid};" in second.stderr


def odyssai(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.command", *arguments],
        capture_output=True,
        text=True,
        cwd=up.ROOT,
        timeout=20,
        check=False,
    )


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        refused = odyssai("up", "--home", str(tmp_path / "home"), "--port", str(port))

    assert refused.returncode == 1
    assert refused.stderr == (
        f"odyssai: port {port} on 127.0.0.1 is taken; choose another with --port\n"
    )
    assert not (tmp_path / "home").exists()


def test_an_unknown_service_is_named(tmp_path: Path) -> None:
    refused = odyssai("up", "--home", str(tmp_path), "--only", "gateway,sheduler")

    assert refused.returncode == 1
    assert "no service sheduler; there are gateway, scheduler," in refused.stderr


def arguments(**given: object) -> Namespace:
    usual = {
        "home": Path("/home"), "host": "127.0.0.1", "port": 8000, "model": None, "alias": None,
        "memory": None, "trust_remote_code": False,
        "only": "gateway,runner,health", "nats": None,
        "bus_host": "127.0.0.1", "node": None, "log_level": "info", "verbose": False,
        "tls_cert": None, "tls_key": None,
    }  # fmt: skip
    return Namespace(**(usual | given))


def test_models_with_code_of_their_own_are_trusted_only_when_asked() -> None:
    for trusts in (False, True):
        plan = up.planned(arguments(trust_remote_code=trusts))
        told = up._settings(plan, "runner")
        assert told.get("ODYSSAI_TRUST_REMOTE_CODE") == ("1" if trusts else None)
        assert "ODYSSAI_TRUST_REMOTE_CODE" not in up._settings(plan, "gateway")


def test_each_service_is_told_its_own_settings_only() -> None:
    plan = up.planned(
        arguments(
            nats="nats://bus",
            model=["a", "b/c"],
            alias=["x=a", "y=b/c"],
            node="studio",
            memory="24GB",
        )
    )
    gateway, runner, health = (up._settings(plan, name) for name in plan.services)

    assert gateway["ODYSSAI_PORT"] == "8000"
    assert runner["ODYSSAI_MODELS"] == "a,b/c"
    assert runner["ODYSSAI_ALIASES"] == "x=a,y=b/c"
    assert runner["ODYSSAI_MEMORY"] == "24GB"
    assert "ODYSSAI_PORT" not in runner | health
    assert "ODYSSAI_MODELS" not in gateway | health
    assert {each["ODYSSAI_NATS"] for each in (gateway, runner, health)} == {"nats://bus"}


def test_without_a_model_of_its_own_it_does_not_wait_for_one() -> None:
    assert up._awaited(up.planned(arguments(model=["a"]))) == "loading a …"
    assert up._awaited(up.planned(arguments(model=["none"]))).startswith("starting gateway")


@pytest.mark.parametrize(
    ("hostname", "node"),
    [
        ("Max's Mac Studio.local", "max-s-mac-studio"),
        ("node-7.example.org", "node-7"),
        ("…", "node"),
    ],
)
def test_a_node_name_may_stand_in_a_subject(
    hostname: str, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up.socket, "gethostname", lambda: hostname)

    assert up.node_name() == node


@pytest.mark.parametrize(
    ("kinds", "path", "model"),
    [
        (["embedder", "llm"], "/v1/chat/completions", "m1"),
        (["reranker", "vlm"], "/v1/chat/completions", "m1"),
        (["embedder", "reranker"], "/v1/embeddings", "m0"),
        (["reranker"], "/v1/rerank", "m0"),
        ([], "/v1/chat/completions", "MODEL"),
    ],
)
def test_the_line_to_try_is_for_what_is_there(kinds: list[str], path: str, model: str) -> None:
    shown, question = up.example({f"m{place}": kind for place, kind in enumerate(kinds)})

    assert (shown, question["model"]) == (path, model)
