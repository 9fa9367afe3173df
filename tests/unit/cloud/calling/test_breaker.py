"""When an upstream is left alone, and how it is found to be well again."""

import pytest

from proto.errors import MeshError
from services.cloud.calling.breaker import FAILURES, LONGEST_REST_S, REST_S, Breaker


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broken(clock: Clock) -> Breaker:
    breaker = Breaker("up", clock)
    for _ in range(FAILURES):
        breaker.admit()
        breaker.fail("out of order")
    return breaker


def test_failures_with_a_success_between_them_do_not_add_up(clock: Clock) -> None:
    breaker = Breaker("up", clock)
    for _ in range(3 * FAILURES):
        breaker.fail("once")
        breaker.succeed()

    assert breaker.circuit == "closed"


def test_while_it_rests_nobody_asks_it(broken: Breaker) -> None:
    with pytest.raises(MeshError, match="out of order"):
        broken.admit()

    assert (broken.circuit, broken.trouble) == ("open", "out of order")


def test_after_its_rest_one_finds_out_for_all(broken: Breaker, clock: Clock) -> None:
    clock.now_s += REST_S
    assert broken.circuit == "half_open"
    broken.admit()
    with pytest.raises(MeshError):
        broken.admit()

    broken.succeed()

    broken.admit()
    broken.admit()
    assert (broken.circuit, broken.trouble) == ("closed", "")


def test_an_answer_that_begins_lets_others_in_and_one_that_then_breaks_shuts_them_out(
    broken: Breaker, clock: Clock
) -> None:
    clock.now_s += REST_S
    broken.admit()
    broken.begin()
    broken.admit()
    assert broken.circuit == "closed"

    broken.fail("broke off")

    assert broken.circuit == "open"


def test_a_probe_that_fails_makes_the_rest_longer_up_to_a_minute(
    broken: Breaker, clock: Clock
) -> None:
    rest_s = REST_S
    for _ in range(8):
        clock.now_s += rest_s
        broken.admit()
        broken.fail("still")
        rest_s = min(2 * rest_s, LONGEST_REST_S)
        clock.now_s += rest_s - 0.1
        assert broken.circuit == "open"
        clock.now_s -= rest_s - 0.1


def test_a_probe_that_is_given_up_leaves_it_to_the_next(broken: Breaker, clock: Clock) -> None:
    clock.now_s += REST_S
    broken.admit()
    broken.withdraw()

    broken.admit()
