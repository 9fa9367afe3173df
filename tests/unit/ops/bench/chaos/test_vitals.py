"""Growth is what a straight line through a life's samples says, after its warm-up."""

import pytest

from ops.bench._chaos.vitals import LIMITS, Life, slope


def test_the_slope_of_a_line_is_found_in_noise() -> None:
    assert slope([(at, 3 + 0.5 * at) for at in range(20)]) == pytest.approx(0.5)
    assert slope([(at, 3 + (-1) ** at) for at in range(20)]) == pytest.approx(0, abs=0.02)
    assert slope([(1, 5)]) == 0


def test_what_is_filled_in_the_warm_up_is_no_growth() -> None:
    at_s = [float(at) for at in range(0, 1000, 10)]
    rss = [100.0 + min(at, 200) for at in at_s]
    growing = [100.0 + at / 10 for at in at_s]

    assert Life("gateway-1", 1, at_s, rss).growth(LIMITS[0]) == pytest.approx(0)
    assert Life("gateway-1", 1, at_s, growing).growth(LIMITS[0]) == pytest.approx(360, rel=0.02)


def test_what_requests_take_while_they_last_is_no_growth() -> None:
    at_s = [float(at) for at in range(0, 1000, 2)]
    busy_late = [100.0 + (at % 10) * (at / 50) for at in at_s]

    assert slope(list(zip(at_s, busy_late, strict=True))) > 0.05
    assert Life("gateway-1", 1, at_s, busy_late).growth(LIMITS[0]) == pytest.approx(0)
