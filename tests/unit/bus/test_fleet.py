"""Who is alive, seen from one listener."""

import pytest

from bus.fleet import Fleet, card_of
from proto.presence import SILENCE_S, STALL_S, EngineBeat, Gone, ModelCard


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    return Fleet(clock)


def beat(engine: str = "e", boot: str = "b1", **fields: object) -> EngineBeat:
    card = ModelCard(id="Org/Model", aliases=("model",), context_length=8)
    plain = {"node": "n", "pid": 1, "state": "ready", "models": (card,)}
    return EngineBeat(engine=engine, boot=boot, **(plain | fields))


def test_an_engine_is_found_by_id_and_by_alias(fleet: Fleet) -> None:
    fleet.hear_engine(beat())

    assert [e.engine for e in fleet.holders("Org/Model")] == ["e"]
    assert [e.engine for e in fleet.holders("model")] == ["e"]
    assert fleet.holders("other") == []
    assert card_of(beat(), "model") is not None


def test_a_silent_engine_is_not_served(fleet: Fleet, clock: Clock) -> None:
    fleet.hear_engine(beat())
    clock.now_s = SILENCE_S + 0.1

    assert fleet.holders("model") == []


def test_an_engine_that_loads_or_drains_or_stands_still_is_not_served(fleet: Fleet) -> None:
    for state in ("loading", "draining"):
        fleet.hear_engine(beat(state=state))
        assert fleet.holders("model") == []
    fleet.hear_engine(beat(stalled_s=STALL_S))
    assert fleet.holders("model") == []


def test_a_farewell_counts_at_once_and_late_beats_of_that_life_do_not(fleet: Fleet) -> None:
    fleet.hear_engine(beat())
    fleet.hear_gone(Gone(kind="engine", id="e", boot="b1"))
    fleet.hear_engine(beat())
    assert fleet.holders("model") == []

    fleet.hear_engine(beat(boot="b2"))
    assert len(fleet.holders("model")) == 1


def test_a_farewell_of_an_earlier_life_does_not_end_the_next(fleet: Fleet) -> None:
    fleet.hear_engine(beat(boot="b2"))
    fleet.hear_gone(Gone(kind="engine", id="e", boot="b1"))

    assert len(fleet.holders("model")) == 1


def test_models_are_listed_once(fleet: Fleet) -> None:
    fleet.hear_engine(beat("e1"))
    fleet.hear_engine(beat("e2", boot="b2"))

    assert [card.id for card in fleet.models()] == ["Org/Model"]
