"""When an upstream is asked again."""

import pytest

from services.cloud.calling.retrying import FIRST_S, LONGEST_S, RETRIES, pause_s, told_s

FOR_EVER = float("inf")


def test_each_pause_is_longer_than_the_one_before_and_spread() -> None:
    least, most = ([pause_s(n, None, FOR_EVER, jitter) for n in (1, 2)] for jitter in (0.0, 1.0))

    assert most == [FIRST_S, 2 * FIRST_S]
    assert least == [FIRST_S / 2, FIRST_S]


def test_there_are_so_many_and_no_more() -> None:
    assert pause_s(RETRIES, None, FOR_EVER, 0.5) is not None
    assert pause_s(RETRIES + 1, None, FOR_EVER, 0.5) is None


def test_what_the_upstream_asks_for_is_the_least_and_too_much_is_no_retry() -> None:
    assert pause_s(1, 1.5, FOR_EVER, 0.0) == 1.5
    assert pause_s(1, LONGEST_S + 0.1, FOR_EVER, 0.0) is None


def test_a_pause_beyond_the_deadline_is_no_retry() -> None:
    assert pause_s(1, None, 0.1, 1.0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 26 Nov 2026 12:00:07 GMT"}, 7.0),
        ({"retry-after": "Thu, 26 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_the_time_to_come_back_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert told_s(headers, now=1795694400.0) == seconds
