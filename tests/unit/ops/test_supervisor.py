"""Programs are kept running and ended in order, and nobody outlives the supervisor."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ops import supervisor
from ops.child import CRASH_LOOP, NotRenewed, Program
from ops.supervisor import BusProgram, BusSilent, Supervisor
from tests.unit.ops.fake_mesh import living, program


class Stage:
    """A supervisor with what it said, and what its programs printed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.told: list[str] = []
        self.printed: list[tuple[str, str]] = []
        self.supervisor: Supervisor

    @asynccontextmanager
    async def running(
        self, *programs: Program, bus: BusProgram | None = None
    ) -> AsyncIterator[None]:
        self.supervisor = Supervisor(
            programs, bus, self.logs, self.told.append, lambda *line: self.printed.append(line)
        )
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(self.supervisor.run())
            yield
            self.supervisor.stop()
            await run

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0.005)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of tests before us, such as the session's own bus server."""
    before = set(psutil.Process().children(recursive=True))
    monkeypatch.setattr(sys.modules[__name__], "STRANGERS", before)


STRANGERS: set[psutil.Process] = set()


def family() -> list[psutil.Process]:
    return [p for p in living(psutil.Process().children(recursive=True)) if p not in STRANGERS]


async def present(_: object = None) -> bool:
    return True


async def test_a_program_that_ends_is_started_again(stage: Stage) -> None:
    async with stage.running(program("scheduler", "crasher")):
        await stage.until(lambda: stage.printed.count(("scheduler", "the disk is on fire")) == 2)

    assert stage.told[0] == "scheduler ended (status 3); starting it again"
    assert not family()


async def test_a_program_that_never_stays_up_is_explained_once(stage: Stage) -> None:
    async with stage.running(program("runner", "crasher")):
        await stage.until(
            lambda: stage.printed.count(("runner", "the disk is on fire")) > CRASH_LOOP + 1
        )

    assert len(stage.told) == CRASH_LOOP
    why = [line for line in stage.told if "in a row" in line]
    assert len(why) == 1
    assert "the disk is on fire" in why[0]
    assert str(stage.logs / "runner.log") in why[0]


async def test_a_setting_that_makes_no_sense_is_told_once(stage: Stage) -> None:
    async with stage.running(program("gateway", "misled")):
        await stage.until(lambda: len(stage.printed) == 3)

    (told,) = stage.told
    assert told == "gateway cannot start, and tries again by itself: ODYSSAI_PORT must be a number"


async def test_a_program_that_cannot_be_run_is_explained(stage: Stage) -> None:
    async with stage.running(Program("cloud", ("/no/such/program",))):
        await stage.until(lambda: len(stage.told) >= CRASH_LOOP)

    assert "/no/such/program: No such file or directory" in stage.told[-1]


async def test_a_killed_program_names_its_signal(stage: Stage) -> None:
    async with stage.running(program("health", "engine")):
        await stage.until(lambda: len(family()) == 1)
        family()[0].kill()
        await stage.until(lambda: bool(stage.told))

    assert stage.told == ["health ended (SIGKILL); starting it again"]


async def test_services_end_together_and_the_bus_last(stage: Stage, tmp_path: Path) -> None:
    def quitter(name: str, pause_s: str, needs_leash: bool = False) -> Program:
        (tmp_path / name).mkdir()
        diary = str(tmp_path / name / "diary")
        return program(name, "quitter", diary, pause_s, needs_leash=needs_leash)

    server = quitter("server", "0", needs_leash=True)
    slow = [quitter("gateway", "0.4"), quitter("scheduler", "0.4")]
    async with stage.running(*slow, bus=BusProgram(server, present)):
        await stage.until(lambda: len(stage.printed) == 3)
        asked_s = time.monotonic()

    ended_s = {
        name: float((tmp_path / name / "diary").read_text().split()[1])
        for name in ("server", "gateway", "scheduler")
    }
    assert ended_s["server"] > max(ended_s["gateway"], ended_s["scheduler"])
    assert max(ended_s.values()) - asked_s < 0.8
    assert not family()


async def test_who_does_not_end_in_time_is_killed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.2)
    async with stage.running(program("gateway", "stubborn")):
        await stage.until(lambda: len(stage.printed) == 1)

    assert ("gateway", "no") in stage.printed
    assert not family()


async def test_the_second_request_to_stop_waits_for_nobody(stage: Stage) -> None:
    async with stage.running(program("gateway", "stubborn")):
        await stage.until(lambda: len(stage.printed) == 1)
        stage.supervisor.stop()
        await stage.until(lambda: len(stage.printed) == 2)
        asked_s = time.monotonic()

    assert time.monotonic() - asked_s < 1
    assert not family()


async def test_stopping_while_a_restart_is_awaited_is_quick(stage: Stage) -> None:
    async with stage.running(program("runner", "crasher")):
        await stage.until(lambda: len(stage.told) == CRASH_LOOP)
        asked_s = time.monotonic()

    assert time.monotonic() - asked_s < 0.2


async def test_a_killed_leash_takes_its_program_along(stage: Stage) -> None:
    server = Program("nats-server", ("sleep", "60"), needs_leash=True)
    async with stage.running(bus=BusProgram(server, present)):
        await stage.until(lambda: len(family()) == 3)
        before = family()
        os.kill(before[0].pid, signal.SIGKILL)
        await stage.until(lambda: bool(stage.told) and len(family()) == 3)

        assert not living(before)


async def test_a_bus_that_does_not_answer_is_an_error(stage: Stage) -> None:
    async def absent() -> bool:
        return False

    server = Program("nats-server", ("sleep", "60"), needs_leash=True)
    with pytest.raises(BusSilent):
        await Supervisor([], BusProgram(server, absent), stage.logs, stage.told.append).run()
    assert not family()


async def test_stopping_before_the_bus_answers_starts_no_service(stage: Stage) -> None:
    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    server = Program("nats-server", ("sleep", "60"), needs_leash=True)
    service = program("gateway", "stubborn")
    async with stage.running(service, bus=BusProgram(server, never)):
        await stage.until(lambda: len(family()) == 3)

    assert not [line for name, line in stage.printed if name == "gateway"]
    assert not family()


class Heirs(Stage):
    """A program that can be renewed, and the processes that served in its name."""

    def served(self) -> list[str]:
        return [line.split()[1] for _, line in self.printed if line.startswith("serves")]


@pytest.fixture
def heirs(tmp_path: Path) -> Heirs:
    return Heirs(tmp_path)


async def test_who_is_renewed_ends_once_another_serves(heirs: Heirs) -> None:
    async with heirs.running(program("gateway", "heir")):
        await heirs.until(lambda: len(heirs.served()) == 1)
        await heirs.supervisor.renew("gateway")
        await heirs.until(lambda: len(family()) == 1)

        assert [str(process.pid) for process in family()] == heirs.served()[1:]
    assert heirs.told == []
    assert not family()


async def test_who_is_succeeded_may_take_its_time_and_is_ended_with_the_rest(heirs: Heirs) -> None:
    async with heirs.running(program("gateway", "heir", "slow")):
        await heirs.until(lambda: len(heirs.served()) == 1)
        await heirs.supervisor.renew("gateway")

        assert {str(process.pid) for process in family()} == set(heirs.served())
        assert len(heirs.served()) == 2
    assert not family()


async def test_where_no_successor_serves_the_one_before_goes_on(heirs: Heirs) -> None:
    async with heirs.running(program("gateway", "heir", "broken")):
        await heirs.until(lambda: len(heirs.served()) == 1)
        with pytest.raises(NotRenewed, match="the one before goes on"):
            await heirs.supervisor.renew("gateway")

        assert [str(process.pid) for process in family()] == heirs.served()


async def test_an_agent_is_renewed_in_its_own_process(heirs: Heirs) -> None:
    agent = replace(program("runner", "heir", "in place"), renews_in_place=True)
    async with heirs.running(agent):
        await heirs.until(lambda: len(heirs.served()) == 1)
        await heirs.supervisor.renew("runner")

        await heirs.until(lambda: len(heirs.served()) == 2)
        assert len(set(heirs.served())) == len(family()) == 1


async def test_what_does_not_run_here_is_not_renewed(heirs: Heirs) -> None:
    async with heirs.running(program("gateway", "heir")):
        await heirs.until(lambda: len(heirs.served()) == 1)
        with pytest.raises(NotRenewed, match="scheduler does not run here"):
            await heirs.supervisor.renew("scheduler")
