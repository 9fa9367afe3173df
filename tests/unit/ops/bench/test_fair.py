"""What the figures of a fair bench are made of."""

from ops.bench._report import Report
from ops.bench.fair import Turn, _tell


def ratios(*turns: Turn) -> dict[str, bool]:
    report = Report("fair")
    _tell(report, list(turns))
    return {figure.name: figure.is_met for figure in report.figures if figure.has_aim}


def test_a_flood_that_costs_another_key_a_little_meets_the_aim():
    assert all(ratios(Turn([0.4] * 8, [0.5] * 8)).values())


def test_each_round_is_compared_with_itself():
    slow, fast = Turn([0.8] * 8, [1.0] * 8), Turn([0.2] * 8, [0.25] * 8)

    assert all(ratios(slow, fast, slow).values())


def test_a_few_that_wait_for_long_miss_it():
    met = ratios(Turn([0.4] * 20, [0.5] * 17 + [3.0] * 3))

    assert list(met.values()) == [True, False]
