import mlx.core as mx
import pytest

from proto.generation import Sampling
from services.runner.engine.batching.sampling import draws_ahead, drew, greedy, sampler


def drawn(sampling, probabilities, times=400):
    logprobs = mx.log(mx.array([probabilities] * times))
    return set(sampler(sampling, len(probabilities))(logprobs).tolist())


P = [0.5, 0.3, 0.15, 0.05]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), {0, 1, 2, 3}),
        (Sampling(temperature=0), {0}),
        (Sampling(top_k=2), {0, 1}),
        (Sampling(top_k=4), {0, 1, 2, 3}),
        (Sampling(top_k=1000), {0, 1, 2, 3}),
        (Sampling(top_p=0.75), {0, 1}),
        (Sampling(min_p=0.25), {0, 1, 2}),
        (Sampling(seed=3, top_k=3), {0, 1, 2}),
        # At a tenth of the temperature nothing but the first is within its top 0.9.
        (Sampling(temperature=0.1, top_p=0.9), {0}),
        # A great temperature makes all alike, so that min_p cuts nothing.
        (Sampling(temperature=50.0, min_p=0.8), {0, 1, 2, 3}),
    ],
)
def test_only_what_the_cut_offs_leave_is_ever_drawn(sampling, expected):
    assert drawn(sampling, P) == expected


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 + 5])
def test_any_whole_number_is_a_seed(seed):
    logprobs = mx.log(mx.array([P]))
    one, other = (sampler(Sampling(seed=seed), 4) for _ in range(2))
    assert [one(logprobs).item() for _ in range(20)] == [other(logprobs).item() for _ in range(20)]


def test_draws_ahead_of_a_seed_are_those_that_come():
    logprobs = [mx.log(mx.array([p])) for p in (P, P[::-1], P, [0.25] * 4)]
    one, other = (sampler(Sampling(seed=5), 4) for _ in range(2))
    ahead = draws_ahead(one, 4)
    for _ in range(2):
        assert [draw(row).item() for draw, row in zip(ahead, logprobs, strict=True)] == [
            draw(row).item() for draw, row in zip(draws_ahead(other, 4), logprobs, strict=True)
        ]
    drew(one, 2)
    told = [draw(row).item() for draw, row in zip(ahead, logprobs, strict=True)]
    assert [one(logprobs[2]).item(), one(logprobs[3]).item()] == told[2:]
    assert [other(row).item() for row in logprobs] == told


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=3, temperature=0.8)])
def test_a_draw_ahead_without_a_seed_is_by_the_same_chance_whoever_else_draws_by_it(sampling):
    """And a draft that nearly agrees mostly draws the same."""
    rows, drafted = mx.log(mx.array([P] * 1)), mx.log(mx.array([[0.45, 0.35, 0.15, 0.05]]))
    own, ahead = sampler(sampling, 4), []
    agreed = 0
    for _ in range(3000):
        (draw,) = draws_ahead(own, 1)
        guess = draw(drafted).item()
        ahead.append(draw(rows).item())
        agreed += guess == ahead[-1]
    plain = sampler(sampling, 4)(mx.log(mx.array([P] * 3000))).tolist()
    for token in range(4):
        assert ahead.count(token) / 3000 == pytest.approx(plain.count(token) / 3000, abs=0.05)
    assert agreed / 3000 > 0.85


def test_the_likeliest_needs_no_draw():
    assert draws_ahead(greedy, 2) == [greedy, greedy]
    drew(greedy, 2)
