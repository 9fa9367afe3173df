"""When an engine counts as wedged, and when as idle."""

from typing import Any

import pytest

from proto.ids import EngineId, NodeId
from proto.presence import EngineBeat
from services.runner.crew.pulse import WEDGED_S, Pulse


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock)


def beat(**said: Any) -> EngineBeat:
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "node": NodeId("n"), "boot": "b", "pid": 1, "state": "ready",
        "models": (),
    }  # fmt: skip
    return EngineBeat(**usual | said)


def test_an_engine_at_work_for_long_is_not_wedged(pulse: Pulse, clock: Clock) -> None:
    for _ in range(30):
        clock.now_s += 1
        pulse.hear(beat(running=5, stalled_s=0.031))

        assert not pulse.is_wedged()


def test_an_engine_whose_step_clock_stands_is_wedged(pulse: Pulse, clock: Clock) -> None:
    pulse.hear(beat())
    for second in range(2, 15):
        clock.now_s += 1
        pulse.hear(beat(running=1, stalled_s=float(second)))

    assert pulse.is_wedged()


def test_a_silent_engine_is_wedged(pulse: Pulse, clock: Clock) -> None:
    pulse.hear(beat())
    clock.now_s += WEDGED_S + 1

    assert pulse.is_wedged()


def test_an_engine_unheard_while_the_bus_was_away_is_not(pulse: Pulse, clock: Clock) -> None:
    pulse.hear(beat())
    clock.now_s += WEDGED_S + 1
    pulse.excuse_silence()
    clock.now_s += 1

    assert not pulse.is_wedged()


def test_an_engine_that_is_still_loading_is_not(pulse: Pulse, clock: Clock) -> None:
    clock.now_s += 10 * WEDGED_S

    assert not pulse.is_wedged()


def test_a_late_word_of_the_process_before_is_not_heard(pulse: Pulse) -> None:
    pulse.begin("second")
    pulse.hear(beat(boot="first", memory_bytes=7))

    assert pulse.state is None
    assert pulse.memory_bytes == 0


async def test_each_process_becomes_ready_once(pulse: Pulse) -> None:
    pulse.hear(beat(boot="first", state="loading"))
    for boot in ("first", "second"):
        pulse.hear(beat(boot=boot))
        pulse.hear(beat(boot=boot))
        assert (await pulse.readiness()).boot == boot
        pulse.begin("second")

    assert pulse._ready.empty()


def test_one_that_serves_nobody_for_long_enough_is_idle(pulse: Pulse) -> None:
    assert pulse.is_idle_for(2.0)
    for said, is_idle in (
        (beat(idle_s=0.0, running=1), False),
        (beat(idle_s=1.9), False),
        (beat(idle_s=2.0), True),
        (beat(state="loading"), True),
    ):
        pulse.hear(said)
        assert pulse.is_idle_for(2.0) is is_idle
