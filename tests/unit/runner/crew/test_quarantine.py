"""How many ends of an engine are too many."""

from services.runner.crew.quarantine import WINDOW_S, Crashes


def test_three_within_ten_minutes_are_too_many() -> None:
    crashes = Crashes(limit=3)
    for at in (0.0, 100.0):
        crashes.note(at)
        assert not crashes.are_too_many(at)
    crashes.note(WINDOW_S)

    assert crashes.are_too_many(WINDOW_S)


def test_ends_of_long_ago_are_forgotten() -> None:
    crashes = Crashes(limit=3)
    for at in (0.0, 1.0, WINDOW_S + 0.5):
        crashes.note(at)

    assert not crashes.are_too_many(WINDOW_S + 0.5)
    assert crashes.count(WINDOW_S + 0.5) == 2


def test_with_no_limit_none_are_too_many() -> None:
    crashes = Crashes(limit=0)
    for _ in range(9):
        crashes.note(0.0)

    assert not crashes.are_too_many(0.0)
