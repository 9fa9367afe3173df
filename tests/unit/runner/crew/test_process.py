"""Engine processes are known by pid and boot, and end when told to."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest
from msgspec import structs

from proto.ids import EngineId, NodeId
from proto.state import EngineRecord
from services.runner.crew.process import BOOT, EngineProcess
from tests.mesh.house import until

Start = Callable[..., "subprocess.Popen[bytes]"]
STUBBORN = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(60)"
)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(
        script: str = "import time; time.sleep(60)", boot: str = ""
    ) -> "subprocess.Popen[bytes]":
        told = {BOOT: boot} if boot else {}
        command = [sys.executable, "-c", script]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **told})
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def record_of(pid: int, started_s: float) -> EngineRecord:
    return EngineRecord(
        engine=EngineId("e"), node=NodeId("n"), pid=pid, started_s=started_s, source="tiny"
    )


def adopted(process: "subprocess.Popen[bytes]") -> EngineProcess:
    started_s = psutil.Process(process.pid).create_time()
    found = EngineProcess.adopt(record_of(process.pid, started_s))
    assert found
    return found


def test_the_process_of_a_record_is_adopted(start: Start) -> None:
    process = start()

    assert adopted(process).pid == process.pid


@pytest.mark.parametrize("wrong_by_s", [-3600.0, 0.0, 3600.0])
def test_a_process_is_known_by_its_boot_however_the_clock_was_set(
    start: Start, wrong_by_s: float
) -> None:
    process = start(boot="b1")
    until(lambda: psutil.Process(process.pid).environ().get(BOOT), what="a program of its own")
    began_s = psutil.Process(process.pid).create_time() + wrong_by_s
    record = structs.replace(record_of(process.pid, began_s), boot="b1")

    assert EngineProcess.adopt(record)
    assert EngineProcess.adopt(structs.replace(record, boot="b2")) is None


def test_another_process_of_the_same_number_is_not(start: Start) -> None:
    process = start()
    started_s = psutil.Process(process.pid).create_time()

    assert EngineProcess.adopt(record_of(process.pid, started_s - 1)) is None


def test_a_dead_process_is_not_adopted_but_buried(start: Start) -> None:
    process = start()
    record = record_of(process.pid, psutil.Process(process.pid).create_time())
    process.kill()
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)

    assert EngineProcess.adopt(record) is None
    assert not psutil.pid_exists(process.pid)


async def test_the_end_of_an_adopted_child_is_noticed_and_it_is_buried(start: Start) -> None:
    process = start()
    life = asyncio.create_task(adopted(process).ended())

    process.kill()

    async with asyncio.timeout(3):
        assert await life == "SIGKILL"
    assert not psutil.pid_exists(process.pid)


async def test_a_process_that_will_not_end_is_made_to(start: Start) -> None:
    process = start(STUBBORN)
    assert process.stdout
    assert await asyncio.to_thread(process.stdout.readline) == b"deaf\n"

    async with asyncio.timeout(3):
        await adopted(process).stop(grace_s=0.1)

    assert not psutil.pid_exists(process.pid)


async def test_a_process_that_ended_is_not_signalled(start: Start) -> None:
    process = start("pass")
    engine = EngineProcess(process.pid)
    process.wait()

    engine.signal(signal.SIGKILL)
    await engine.stop(grace_s=1)
