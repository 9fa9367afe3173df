"""Dollars as whole numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.money import dollars, nano_usd, shown


@given(st.integers(min_value=0, max_value=10**15))
def test_dollars_below_a_million_come_back_as_they_were(nano: int) -> None:
    assert nano_usd(dollars(nano)) == nano


def test_a_float_counts_as_what_is_written() -> None:
    assert nano_usd(0.1) + nano_usd(0.2) == nano_usd(0.3) == nano_usd(Decimal("0.3"))


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), 1e18, Decimal("NaN")])
def test_what_is_no_amount_is_refused(nonsense: float | Decimal) -> None:
    with pytest.raises(ValueError, match="no amount"):
        nano_usd(nonsense)


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (0, "$0.00"),
        (1_500_000_000, "$1.50"),
        (123_457, "$0.000123457"),
        (1_234_567_891_234, "$1,234.57"),
    ],
)
def test_people_are_shown_as_much_as_there_is_to_say(nano: int, words: str) -> None:
    assert shown(nano) == words
