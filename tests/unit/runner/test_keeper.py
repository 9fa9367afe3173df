"""When an engine counts as wedged, and how far its keeper says it is."""

from pathlib import Path
from typing import Any

import pytest

from bus.connection import Bus
from proto.ids import EngineId, ModelId, NodeId
from proto.memory import Grant
from proto.plan import Placement
from proto.presence import EngineBeat, ModelCard
from services.host import Host
from services.runner.keeper import WEDGED_S, Desk, Keeper

NODE = NodeId("n1")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(clock: Clock, tmp_path: Path) -> Keeper:
    host = Host("runner", NODE, Bus("nats://nowhere", "runner:n1"), tmp_path)
    nobody: Any = None  # Nothing is written down here, and no file looked at.
    desk = Desk(host, NODE, nobody, nobody, nobody, 3, clock)
    return Keeper(desk, placement())


def placement(**said: Any) -> Placement:
    grant = Grant(weights_bytes=1, kv_bytes=4, headroom_bytes=1, context=8, kv_tokens=32)
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "model": ModelId("tiny"), "source": "tiny", "grant": grant,
        "origin": "operator",
    }  # fmt: skip
    return Placement(**usual | said)


def beat(**said: Any) -> EngineBeat:
    card = ModelCard(id=ModelId("tiny"), context_length=10)
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "node": NODE, "boot": "b", "pid": 1, "state": "ready",
        "models": (card,),
    }  # fmt: skip
    return EngineBeat(**usual | said)


def test_an_engine_at_work_for_long_is_not_wedged(keeper: Keeper, clock: Clock) -> None:
    for _ in range(30):
        clock.now_s += 1
        keeper.hear(beat(running=5, stalled_s=0.031))

        assert not keeper.is_wedged()


def test_an_engine_whose_step_clock_stands_is_wedged(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    for second in range(2, 15):
        clock.now_s += 1
        keeper.hear(beat(running=1, stalled_s=float(second)))

    assert keeper.is_wedged()


def test_a_silent_engine_is_wedged(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    clock.now_s += WEDGED_S + 1

    assert keeper.is_wedged()


def test_an_engine_unheard_while_the_bus_was_away_is_not(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    clock.now_s += WEDGED_S + 1
    keeper.excuse_silence()
    clock.now_s += 1

    assert not keeper.is_wedged()


def test_an_engine_that_is_still_loading_is_not(keeper: Keeper, clock: Clock) -> None:
    clock.now_s += 10 * WEDGED_S

    assert not keeper.is_wedged()
