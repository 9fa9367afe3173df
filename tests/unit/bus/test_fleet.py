"""Who is alive, seen from one listener."""

import pytest

from bus.fleet import Fleet, card_of
from proto.presence import (
    SILENCE_S,
    STALL_S,
    EngineBeat,
    EngineStatus,
    Gone,
    ModelCard,
    NodeBeat,
)
from tests.clock import Clock


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


def node(boot: str = "n1", **fields: object) -> NodeBeat:
    plain = {"node": "n", "pid": 1, "host": "h", "platform": "p"}
    return NodeBeat(boot=boot, **(plain | fields))


def status(engine: str, phase: str) -> EngineStatus:
    return EngineStatus(engine=engine, model="Org/Model", phase=phase)


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


def test_holders_come_in_the_order_of_their_ids_whoever_was_heard_first(fleet: Fleet) -> None:
    for engine in ("c", "a", "b"):
        fleet.hear_engine(beat(engine, boot=engine))

    assert [e.engine for e in fleet.holders("model")] == ["a", "b", "c"]


def test_an_engine_that_changes_its_models_is_found_by_the_new_ones_alone(fleet: Fleet) -> None:
    fleet.hear_engine(beat())
    fleet.hear_engine(beat(models=(ModelCard(id="Other", context_length=8),)))

    assert fleet.holders("model") == fleet.holders("Org/Model") == []
    assert [e.engine for e in fleet.holders("Other")] == ["e"]


def test_engines_of_a_node_that_drains_are_there_but_take_nothing_new(fleet: Fleet) -> None:
    fleet.hear_engine(beat())
    fleet.hear_engine(beat("away", boot="b2", node="m"))
    fleet.hear_node(node(is_draining=True))

    assert [e.engine for e in fleet.holders("model")] == ["away"]
    assert not fleet.is_serving("e")
    assert len(fleet.engines()) == 2

    fleet.hear_node(node(is_draining=False))
    assert fleet.is_serving("e")


@pytest.mark.parametrize("phase", ["draining", "stopping"])
def test_an_engine_that_its_agent_empties_takes_nothing_new(fleet: Fleet, phase: str) -> None:
    fleet.hear_engine(beat("e1"))
    fleet.hear_engine(beat("e2", boot="b2"))
    fleet.hear_node(node(engines=(status("e1", phase), status("e2", "ready"))))

    assert [e.engine for e in fleet.holders("model")] == ["e2"]

    fleet.hear_node(node(engines=(status("e1", "ready"), status("e2", "ready"))))
    assert len(fleet.holders("model")) == 2


def test_the_only_engine_of_a_model_takes_nothing_new_either_while_it_drains(fleet: Fleet) -> None:
    fleet.hear_engine(beat())
    fleet.hear_node(node(engines=(status("e", "draining"),)))

    assert fleet.holders("model") == []
    assert fleet.models() == []


def test_a_node_drains_on_while_its_agent_is_started_anew(fleet: Fleet) -> None:
    fleet.hear_engine(beat())
    fleet.hear_node(node(is_draining=True))
    fleet.hear_gone(Gone(kind="node", id="n", boot="n1"))

    assert fleet.holders("model") == []

    fleet.hear_node(node(boot="n2"))
    assert len(fleet.holders("model")) == 1


def provider(**fields: object) -> EngineBeat:
    card = ModelCard(id="oa:gpt-5", context_length=8)
    return beat("cloud.oa-1", node="cloud", provider="oa", models=(card,), **fields)


def test_a_provider_takes_what_a_pattern_allows_and_its_catalog_does_not_have(fleet: Fleet) -> None:
    fleet.hear_engine(provider(accepts=("oa:gpt-*",), refuses=("oa:*audio",)))

    assert [e.engine for e in fleet.holders("oa:gpt-9")] == ["cloud.oa-1"]
    assert fleet.holders("oa:gpt-9-audio") == fleet.holders("oa:o3") == []

    fleet.hear_engine(provider())
    assert fleet.holders("oa:gpt-9") == []
    assert [e.engine for e in fleet.holders("oa:gpt-5")] == ["cloud.oa-1"]


def test_who_holds_a_model_comes_before_who_would_take_it(fleet: Fleet) -> None:
    fleet.hear_engine(provider(accepts=("oa:*",)))
    fleet.hear_engine(beat("cloud.oa-2", accepts=("oa:*",), models=()))

    assert [e.engine for e in fleet.holders("oa:gpt-5")] == ["cloud.oa-1"]
    assert len(fleet.holders("oa:gpt-9")) == 2


def test_a_provider_that_left_takes_nothing(fleet: Fleet) -> None:
    fleet.hear_engine(provider(accepts=("oa:*",)))
    fleet.hear_gone(Gone(kind="engine", id="cloud.oa-1", boot="b1", why="stopped"))

    assert fleet.holders("oa:gpt-9") == []
    assert fleet.provider_of("oa:gpt-9") is None


def test_a_name_finds_the_provider_that_it_begins_with(fleet: Fleet) -> None:
    fleet.hear_engine(provider())

    assert fleet.provider_of("oa:x") == provider()
    assert fleet.provider_of("o:x") is fleet.provider_of("x") is None


def reachable(fleet: Fleet, *, local_only: bool = False) -> list[str]:
    return [beat.engine for beat in fleet.reachable("model", local_only=local_only)]


def test_what_is_outside_is_reached_by_its_name_unless_the_request_must_stay(fleet: Fleet) -> None:
    fleet.hear_engine(beat("away", leaves=True))

    assert reachable(fleet) == ["away"]
    assert reachable(fleet, local_only=True) == []


def test_a_name_of_this_network_leads_to_nobody_outside_ready_or_not(fleet: Fleet) -> None:
    fleet.hear_engine(beat("away", leaves=True))
    fleet.hear_engine(beat("near"))
    assert reachable(fleet) == ["near"]

    fleet.hear_engine(beat("near", state="draining"))
    assert reachable(fleet) == []


def test_a_model_that_another_mesh_has_from_outside_is_outside(fleet: Fleet) -> None:
    cards = (ModelCard(id="model", context_length=8, leaves=True),)
    fleet.hear_engine(beat("mesh", provider_kind="mesh", models=cards))

    assert reachable(fleet, local_only=True) == []
    assert reachable(fleet) == ["mesh"]
