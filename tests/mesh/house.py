"""A whole mesh as real processes, as `odyssai up` starts it, and how a test waits for it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import httpx
import psutil

from bus import embedded

ROOT = Path(__file__).parents[2]
"""Hides packages that are not everywhere."""
NODE = "here"
SERVICES = ("gateway", "scheduler", "runner", "cloud", "health")
READY_S = 40.0
"""Far more than it takes: the cores may be shared with other tests."""
END_S = 12.0
LOOK_S = 0.01

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 10.0, what: str = "") -> T:
    """The condition's first true value."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within_s:g} s: {what or condition}"
        time.sleep(LOOK_S)
    return value


async def soon(condition: Callable[[], T], within_s: float = 10.0, what: str = "") -> T:
    """``until`` beside a running event loop."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within_s:g} s: {what or condition}"
        await asyncio.sleep(LOOK_S)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Corpses left out: where nobody buries orphans, they lie about."""
    return [process for process in processes if is_alive(process)]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would change a mesh behind a test's back."""
    told = ("ODYSSAI_", "OPENAI_", "OPENROUTER_", "ANTHROPIC_", "OTEL_")
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(told) and not name.lower().endswith("_proxy")
    }
    always = {
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        # Vaults of homes that are soon gone have no place in anybody's keychain.
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    return plain | always | dict(more or {})


class Said:
    """What a process says; whoever waits for a word has a deadline."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._is_over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return self._text

    def _read(self) -> None:
        for line in self._stream:
            with self._news:
                self._text += line
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def wait_for(self, word: str, within_s: float) -> str:
        """All that was said, once the word is part of it."""
        with self._news:
            self._news.wait_for(lambda: word in self._text or self._is_over, within_s)
            assert word in self._text, f"no {word!r} within {within_s:g} s in:\n{self._text}"
            return self._text

    def close(self) -> None:
        self._reader.join(END_S)
        self._stream.close()


class Command:
    """An `odyssai` command in a process of its own."""

    def __init__(
        self, *arguments: str, told: Mapping[str, str] | None = None, source: Path = ROOT
    ) -> None:
        """``source`` holds the packages that run."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.command", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=source,
            env=environment({"PYTHONPATH": str(source)} | dict(told or {})),
            text=True,
            start_new_session=True,
            # Whoever starts the tests in the background has them ignore Ctrl-C, and theirs as well.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout
        self.said = Said(self.process.stdout)
        self._known: set[psutil.Process] = set()

    def family(self) -> list[psutil.Process]:
        """Everybody below it. An engine stays in it when the agent above it has died."""
        with suppress(psutil.NoSuchProcess):
            self._known.update(psutil.Process(self.process.pid).children(recursive=True))
        for process in living(self._known):
            with suppress(psutil.NoSuchProcess):
                self._known.update(process.children(recursive=True))
        return living(self._known)

    def pids(self, name: str) -> set[int]:
        return {process.pid for process in self.family() if _name(process) == name}

    def process_of(self, name: str) -> psutil.Process:
        """The one living process of a service, the ``engine`` or ``nats-server``."""
        (process,) = until(
            lambda: [p for p in self.family() if _name(p) == name], what=f"one {name}"
        )
        return process

    def end(self) -> None:
        """As Ctrl-C does; by force where that is not enough. Nobody stays."""
        family = self.family()
        for process in family:
            if process.status() == psutil.STATUS_STOPPED:
                process.resume()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        gone_by = time.monotonic() + 3.0
        while living(family) and time.monotonic() < gone_by:
            time.sleep(LOOK_S)
        left = living(family)
        for process in left:
            process.kill()
        self.said.close()
        assert not left, f"outlived their supervisor: {left}"


class Mesh(Command):
    """`odyssai up` on a home of its own."""

    def __init__(
        self,
        home: Path,
        models: Sequence[str | Path],
        told: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        flags = [flag for model in models for flag in ("--model", str(model))]
        super().__init__(
            "up", "--home", str(home), "--port", str(self.port), "--node", NODE,
            *flags, *arguments, told=told,
        )  # fmt: skip

    def wait_until_it_serves(self, models: Iterable[str] = ()) -> "Mesh":
        """The block that is printed is the event; it comes with the first model."""
        try:
            self.said.wait_for("Ctrl-C ends all.", READY_S)
            wanted = set(models)
            until(lambda: wanted <= self.models(), READY_S, f"{wanted} served")
            self.family()
        except BaseException as failure:
            logs = self.logs()
            self.end()
            raise AssertionError(f"no mesh: {failure}\n{logs}") from failure
        return self

    def models(self) -> set[str]:
        try:
            answer = httpx.get(f"{self.url}/v1/models", timeout=5, trust_env=False)
            return {entry["id"] for entry in answer.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError):
            return set()

    def logs(self) -> str:
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}"
            for log in sorted((self.home / "logs").glob("*.log"))
        )

    @property
    def access(self) -> embedded.Access:
        access = embedded.known_access(self.home)
        assert access, "a mesh that serves has credentials"
        return access

    def count(self) -> dict[str, int]:
        names = [_name(process) for process in self.family()]
        return {name: names.count(name) for name in (*SERVICES, "engine", "nats-server")}

    def is_whole(self) -> bool:
        return all(count == 1 for count in self.count().values())


def _name(process: psutil.Process) -> str:
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    if line and Path(line[0]).name == "nats-server":
        return "nats-server"
    found = re.search(r"services\.(?:runner\.)?(\w+)$", line[-1] if line else "")
    return found[1] if found else ""
