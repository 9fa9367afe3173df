"""What a request costs."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from proto.cost import cost_nano_usd
from proto.frames import Usage
from proto.price import Price

TOKENS = st.integers(0, 10_000_000)
USD = st.integers(0, 1_000_000).map(lambda cents: cents / 100)
"""A million tokens."""


def usage(prompt: int, completion: int, cached: int = 0, written: int = 0) -> Usage:
    return Usage(prompt + cached + written, completion, cached, 0, written)


def test_each_kind_of_token_has_its_own_price() -> None:
    price = Price(prompt=3.0, completion=15.0, cached=0.3, cache_write=3.75)

    cost = cost_nano_usd(price, usage(1000, 100, cached=10_000, written=2000))
    assert cost == 3_000_000 + 1_500_000 + 3_000_000 + 7_500_000


def test_what_has_no_price_of_its_own_costs_as_much_as_the_prompt() -> None:
    price = Price(prompt=3.0, completion=15.0)

    assert cost_nano_usd(price, usage(0, 0, cached=5, written=5)) == 30_000


def test_what_the_upstream_charges_wins() -> None:
    said = Usage(10, 10, 0, cost_nano_usd=7)

    assert cost_nano_usd(Price(prompt=1.0, completion=1.0), said) == 7
    assert cost_nano_usd(None, said) == 7


def test_a_token_without_a_price_makes_the_cost_unknown_and_not_nothing() -> None:
    assert cost_nano_usd(None, usage(1, 1)) is None
    assert cost_nano_usd(Price(prompt=1.0), usage(1, 1)) is None
    assert cost_nano_usd(Price(prompt=1.0), usage(1, 0)) == 1000
    assert cost_nano_usd(Price(prompt=0.0, completion=0.0), usage(1, 1)) == 0


@given(TOKENS, TOKENS, TOKENS, TOKENS, USD, USD, USD, USD)
def test_a_cost_is_exact_but_for_one_rounding(
    prompt: int, completion: int, cached: int, written: int,
    for_prompt: float, for_completion: float, for_cached: float, for_written: float,
) -> None:  # fmt: skip
    price = Price(
        prompt=for_prompt, completion=for_completion, cached=for_cached, cache_write=for_written
    )
    told = ((prompt, for_prompt), (completion, for_completion), (cached, for_cached),
            (written, for_written))  # fmt: skip
    exact = sum(tokens * Fraction(repr(usd)) * 1000 for tokens, usd in told)

    cost = cost_nano_usd(price, usage(prompt, completion, cached, written))
    assert cost is not None
    assert abs(cost - exact) <= Fraction(1, 2)


@given(st.lists(st.tuples(TOKENS, TOKENS)), st.integers(0, 10_000), st.integers(0, 10_000))
def test_parts_cost_together_what_the_whole_does(
    parts: list[tuple[int, int]], for_prompt: int, for_completion: int
) -> None:
    """Where a token's price is a whole number of nano-dollars."""
    price = Price(prompt=for_prompt / 1000, completion=for_completion / 1000)
    whole = usage(sum(p for p, _ in parts), sum(c for _, c in parts))

    costs = [cost_nano_usd(price, usage(*part)) or 0 for part in parts]
    assert sum(costs) == cost_nano_usd(price, whole)
