"""The shell that ends a program when its supervisor is gone."""

import os
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from ops.child import _LEASH
from tests.unit.ops.fake_mesh import left_of, living


@pytest.fixture
def lifeline() -> Iterator[list[int]]:
    """Reading and writing end; a test that closes one removes it from the list."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def leashed(lifeline: list[int], *argv: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*_LEASH, *argv], stdin=lifeline[0], stdout=subprocess.PIPE, start_new_session=True
    )


def first_line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout
    return process.stdout.readline()


def end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout
    process.stdout.close()
    process.wait(5)


def test_a_program_that_ends_hands_on_its_status(lifeline: list[int]) -> None:
    process = leashed(lifeline, "sh", "-c", "exit 7")

    assert process.wait(5) == 7
    end(process)


def test_a_lost_lifeline_ends_the_program(lifeline: list[int]) -> None:
    process = leashed(lifeline, "sh", "-c", "echo $$; exec sleep 60")
    sleeper = psutil.Process(int(first_line(process)))

    os.close(lifeline.pop())

    assert process.wait(5) == 128 + signal.SIGTERM
    assert not sleeper.is_running()
    end(process)


def test_a_program_that_ignores_the_lost_lifeline_is_killed(lifeline: list[int]) -> None:
    process = leashed(lifeline, "sh", "-c", "trap '' TERM; echo $$; exec sleep 60")
    sleeper = psutil.Process(int(first_line(process)))

    os.close(lifeline.pop())

    assert process.wait(5) == 128 + signal.SIGKILL
    assert not sleeper.is_running()
    end(process)


def test_a_request_to_end_reaches_the_program(lifeline: list[int]) -> None:
    process = leashed(lifeline, "sh", "-c", "trap 'exit 5' TERM; echo up; sleep 60 & wait")
    first_line(process)
    family = psutil.Process(process.pid).children(recursive=True)

    process.terminate()

    assert process.wait(5) == 5
    end(process)
    for orphan in living(family):
        orphan.kill()


def test_nobody_is_left_to_watch_a_program_that_ended(lifeline: list[int]) -> None:
    process = leashed(lifeline, "sh", "-c", "echo up; read -r _ < /dev/null; sleep 0.2")
    first_line(process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.wait(5)
    end(process)

    assert not left_of(family)
