"""Who is asked next, with what was sent since the last heartbeat in mind."""

import pytest

from bus.fleet import Fleet
from bus.router import PROMISE_S, SETTLING_S, Router
from proto.placement import Prefix, Schedule
from proto.presence import EngineBeat, ModelCard
from tests.clock import Clock

CARD = ModelCard(id="m", context_length=8)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    fleet = Fleet(clock)
    for engine in "ab":
        fleet.hear_engine(beat(engine))
    return fleet


@pytest.fixture
def router(fleet: Fleet) -> Router:
    return Router(fleet)


def beat(engine: str, **fields: object) -> EngineBeat:
    plain = {"node": "n", "boot": engine, "pid": 1, "state": "ready", "slots": 10}
    plain["prefill_tokens_per_s"] = 1000.0
    return EngineBeat(engine=engine, models=(CARD,), **(plain | fields))


def talk(system: str, user: str = "user") -> Schedule:
    """4,000 characters that others may begin with, and 400 of its own."""
    begin = Prefix(system.encode(), 4000)
    return Schedule(model="m", prefix=(begin, Prefix((system + user).encode(), 4400)))


def first(router: Router, question: Schedule) -> str:
    return router.route(question)[0].engine


def hear_both(fleet: Fleet, **fields: object) -> None:
    for engine in "ab":
        fleet.hear_engine(beat(engine, **fields))


def test_nobody_is_named_for_a_model_that_nobody_serves(router: Router) -> None:
    assert router.route(Schedule(model="other")) == ()


def test_every_engine_of_the_model_is_named_with_its_life(router: Router) -> None:
    named = router.route(talk("x"))

    assert {(candidate.engine, candidate.boot) for candidate in named} == {("a", "a"), ("b", "b")}


def test_a_burst_that_begins_alike_goes_to_one_engine(router: Router) -> None:
    assert len({first(router, talk("x", f"user {i}")) for i in range(5)}) == 1


def test_a_burst_that_begins_alike_spills_over_before_one_engine_is_full(router: Router) -> None:
    asked = [first(router, talk("x", f"user {i}")) for i in range(40)]

    assert set(asked) == {"a", "b"}


def test_a_burst_of_unlike_prompts_spreads(router: Router) -> None:
    asked = [first(router, talk(f"system {i}")) for i in range(10)]

    assert asked.count("a") == asked.count("b") == 5


def test_a_heartbeat_takes_the_place_of_what_was_sent(
    router: Router, fleet: Fleet, clock: Clock
) -> None:
    small = Schedule(model="m", prompt_bytes=400)
    fleet.hear_engine(beat("b", running=1))
    assert [first(router, talk("x")), first(router, small)] == ["a", "b"]

    clock.now_s += 2 * SETTLING_S
    fleet.hear_engine(beat("a"))
    fleet.hear_engine(beat("b", running=1))
    assert first(router, small) == "a"


def test_that_a_prompt_was_sent_is_remembered_until_the_engine_says_that_it_is_cached(
    router: Router, fleet: Fleet, clock: Clock
) -> None:
    home = first(router, talk("x"))

    clock.now_s += 2 * SETTLING_S
    fleet.hear_engine(beat(home, running=1))
    assert first(router, talk("x", "other")) == home


def test_what_was_sent_right_before_a_heartbeat_still_counts(
    router: Router, fleet: Fleet, clock: Clock
) -> None:
    home = first(router, talk("x"))
    clock.now_s += SETTLING_S / 2
    hear_both(fleet)

    assert first(router, Schedule(model="m", prompt_bytes=4000)) != home


def test_a_prompt_that_no_heartbeat_confirms_is_not_taken_for_cached_for_long(
    router: Router, fleet: Fleet, clock: Clock
) -> None:
    home = first(router, talk("x"))
    (other,) = {"a", "b"} - {home}
    clock.now_s += PROMISE_S + 2
    fleet.hear_engine(beat(home, running=1))
    fleet.hear_engine(beat(other))

    assert first(router, talk("x")) == other


def test_a_prompt_of_an_earlier_life_is_not_taken_for_cached(router: Router, fleet: Fleet) -> None:
    home = first(router, talk("x"))
    (other,) = {"a", "b"} - {home}
    fleet.hear_engine(beat(home, boot="next life", running=1))

    assert first(router, talk("x")) == other


def test_what_an_engine_says_that_it_holds_is_known(router: Router, fleet: Fleet) -> None:
    fleet.hear_engine(beat("b", running=3, prefixes={b"x": 1000}))

    assert first(router, talk("x")) == "b"


def test_what_an_engine_has_evicted_is_not(router: Router, fleet: Fleet, clock: Clock) -> None:
    fleet.hear_engine(beat("b", running=3, prefixes={b"x": 1000}))
    fleet.hear_engine(beat("b", running=3))

    assert first(router, talk("x")) == "a"
