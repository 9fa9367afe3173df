import mlx.core as mx
import pytest

from proto.inference import Sampling
from services.runner.engine.batching.sampling import sampler


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
