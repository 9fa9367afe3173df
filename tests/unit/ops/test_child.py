"""How long a program waits before it is started again."""

import pytest

from ops.child import LONGEST_RESTART_S, Backoff


def even() -> float:
    """A chance that neither lengthens nor shortens."""
    return 0.5


def test_each_failure_doubles_the_wait() -> None:
    backoff = Backoff(0.1, even)

    assert [round(backoff.after(lived_s=0), 3) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]


def test_the_wait_has_an_end() -> None:
    backoff = Backoff(0.1, even)

    assert max(backoff.after(lived_s=0) for _ in range(5000)) == LONGEST_RESTART_S


def test_a_program_that_lived_long_starts_anew() -> None:
    backoff = Backoff(0.1, even)
    for _ in range(5):
        backoff.after(lived_s=1)

    assert backoff.after(lived_s=31) == 0.1
    assert backoff.failures == 1


def test_chance_moves_the_wait_by_a_fifth() -> None:
    assert Backoff(1.0, lambda: 0.0).after(0) == pytest.approx(0.8)
    assert Backoff(1.0, lambda: 1.0).after(0) == pytest.approx(1.2)
