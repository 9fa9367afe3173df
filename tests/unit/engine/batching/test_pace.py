import pytest

from services.runner.engine.batching.pace import (
    FIRST_RATE,
    IDLE_S,
    LARGEST,
    SMALLEST,
    Pace,
    is_owed,
    share_s,
)
from services.runner.engine.queueing.fairness import Share
from tests.unit.engine.asking import ask, prompt


def waiting(*lengths):
    return [ask(f"r{i}", prompt(length, i)) for i, length in enumerate(lengths)]


def of_key(share, *sequences):
    for sequence in sequences:
        sequence.share = share
    return list(sequences)


def test_a_key_that_decodes_next_to_nothing_beside_a_flood_is_owed_a_large_part_of_a_step():
    flood, other = Share(), Share()
    running = of_key(flood, *waiting(*[5] * 16))
    (newcomer,), (another,) = of_key(other, *waiting(500)), of_key(flood, *waiting(500))

    assert is_owed(newcomer, running)
    assert not is_owed(another, running)
    assert not is_owed(newcomer, running[:3])
    assert not is_owed(newcomer, [*running, *of_key(other, *waiting(*[5] * 8))])
    assert share_s(1, 16, 0.05, 0.0, is_owed=True) == 3 * share_s(1, 16, 0.05, 0.0)


def test_what_a_pass_costs_by_itself_is_not_taken_from_its_tokens() -> None:
    beside = share_s(1, 4, 0.05, 0.08)

    assert beside == pytest.approx(share_s(1, 4, 0.05, 0.0) + 0.08)
    assert share_s(1, 0, 0.05, 0.08) == share_s(8, 1, 0.2, 0.08) == IDLE_S


def test_one_of_many_keys_that_all_have_as_little_is_owed_nothing_more():
    running = [of_key(Share(), *waiting(5))[0] for _ in range(64)]
    (newcomer,) = of_key(Share(), *waiting(500))

    assert not is_owed(newcomer, running)


def test_a_pace_is_learned_for_each_doubling_of_the_context():
    pace = Pace()
    assert pace.tokens(1.0, 0) == FIRST_RATE
    for _ in range(20):
        pace.learn(1000, 0, 1.0)
    assert pace.tokens(0.5, 100) == pytest.approx(500, rel=0.01)
    assert pace.tokens(0.5, 600) == pytest.approx(250, rel=0.01)
    for _ in range(20):
        pace.learn(900, 600, 1.0)
    assert pace.tokens(0.5, 600) == pytest.approx(450, rel=0.01)
    assert pace.tokens(0.5, 100) == pytest.approx(500, rel=0.01)


def test_the_rest_of_a_prompt_goes_along_where_another_pass_would_cost_more() -> None:
    pace = Pace()
    for tokens in (16, 64, 100):
        pace.learn(tokens, 0, 0.06 + 0.002 * tokens)
    fitting = pace.tokens(0.2, 0)

    assert pace.tokens(0.2, 0, remaining=fitting + 25) == fitting + 25
    assert pace.tokens(0.2, 0, remaining=fitting + 35) == fitting
    assert pace.tokens(0.2, 0, remaining=fitting - 5) == fitting
    assert pace.tokens(9.0, 0, remaining=LARGEST + 5) <= LARGEST


def test_what_a_prompt_costs_is_what_its_passes_do() -> None:
    pace = Pace()
    assert pace.cost_s(64) == pytest.approx(1.0)
    for tokens in (16, 64, 200, 200):
        pace.learn(tokens, 0, 0.06 + 0.002 * tokens)

    assert pace.cost_s(200) == pytest.approx(0.46, rel=0.05)
    assert pace.cost_s(2000) == pytest.approx(10 * 0.06 + 4.0, rel=0.1)


def test_a_chunk_is_never_absurd():
    pace = Pace()
    pace.learn(10**9, 0, 1.0)
    assert pace.tokens(1.0, 0) == LARGEST
    assert pace.tokens(1e-9, 0) == SMALLEST


def test_how_fast_prompts_are_read_is_told_by_chunks_that_are_more_than_overhead():
    pace = Pace()
    pace.learn(SMALLEST, 0, 1.0)
    assert pace.tokens_per_s == 0.0

    pace.learn(1000, 0, 1.0)
    pace.learn(500, 5000, 1.0)
    assert 500 < pace.tokens_per_s < 1000
