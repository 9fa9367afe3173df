import random

import pytest

from services.runner.engine.batching.cost import GROWTH, Cost

PASS_S, TOKEN_S = 0.060, 0.002


def learned(*passes: int, slower: float = 1.0) -> Cost:
    cost = Cost()
    for tokens in passes:
        cost.learn(tokens, slower * (PASS_S + tokens * TOKEN_S))
    return cost


def test_what_a_pass_costs_is_told_apart_from_what_its_tokens_do() -> None:
    cost = learned(16, 64)

    assert cost.token_s == pytest.approx(TOKEN_S, rel=0.2)
    assert cost.own_tokens == pytest.approx(30)
    assert learned(16, 64, 25, 80).tokens(0.3) == pytest.approx(120, rel=0.1)


def test_small_passes_do_not_make_large_ones_look_dear() -> None:
    shuffled = random.Random(0)
    cost = learned(*(shuffled.choice((16, 20, 30, 120)) for _ in range(40)), *[16] * 6)

    assert cost.tokens(0.3) == pytest.approx(120, rel=0.1)


def test_passes_of_one_size_leave_what_was_known_of_others() -> None:
    cost = learned(16, 64, *[80] * 200)

    assert cost.own_tokens == pytest.approx(30, rel=0.05)
    assert cost.tokens(0.16) == pytest.approx(50, rel=0.1)


def test_a_machine_that_slows_down_is_believed_soon() -> None:
    cost = learned(16, 64, 80, 30)
    for _ in range(5):
        cost.learn(80, 2 * (PASS_S + 80 * TOKEN_S))

    assert cost.tokens(2 * (PASS_S + 80 * TOKEN_S)) == pytest.approx(80, rel=0.1)


def test_a_small_pass_that_was_held_up_does_not_make_tokens_free() -> None:
    cost = learned(16, 64, 30, 90)
    cost.learn(16, 5.0)

    assert cost.token_s > 0
    assert cost.tokens(0.3) <= GROWTH * 90


def test_more_than_some_times_what_was_measured_is_not_foretold() -> None:
    assert learned(16, 64).tokens(100.0) == GROWTH * 64
