"""Processes that go on by themselves, and are ended by number and start time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from ops.remote import detached
from ops.remote.detached import Running, Started

SLEEPER = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "process.json"
    wanted = Started(argv=SLEEPER, folder=str(tmp_path), log=str(tmp_path / "logs" / "log"))
    path.write_bytes(msgspec.json.encode(wanted))
    yield path
    detached.stop(path)


def told(act: str, file: Path) -> int:
    command = [sys.executable, "-P", "-m", "ops.remote.detached", act, str(file)]
    root = Path(detached.__file__).parents[2]
    return subprocess.run(command, check=False, env={"PYTHONPATH": str(root)}).returncode


def test_it_outlives_who_started_it_until_it_is_stopped(file: Path) -> None:
    assert told("status", file) == 1

    assert told("start", file) == 0
    process = detached.running(file)
    assert process
    assert told("status", file) == 0

    assert told("stop", file) == 0
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert told("status", file) == 1
    assert told("stop", file) == 0


def test_started_again_it_is_another_and_the_first_is_gone(file: Path) -> None:
    told("start", file)
    first = detached.running(file)

    told("start", file)
    second = detached.running(file)

    assert first
    assert second
    assert first.pid != second.pid
    assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE


def test_a_corpse_that_nobody_buries_has_ended(file: Path) -> None:
    """As in a container whose first process does not care. Here its parent is this test."""
    child = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    try:
        began = psutil.Process(child.pid).create_time()
        file.with_suffix(".pid").write_bytes(msgspec.json.encode(Running(child.pid, began)))

        assert told("stop", file) == 0
        assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    finally:
        child.kill()
        child.wait()


def test_somebody_else_with_its_number_is_left_alone(file: Path) -> None:
    stranger = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    try:
        began = psutil.Process(stranger.pid).create_time()
        sign = Running(stranger.pid, began - 3600)
        file.with_suffix(".pid").write_bytes(msgspec.json.encode(sign))

        assert told("status", file) == 1
        assert told("stop", file) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
