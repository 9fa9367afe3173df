"""What counts against a budget before it is in the books."""

from proto.usage import Amounts, Mark
from services.gateway.keys.unsettled import MOST, Unsettled

ONE = Amounts(requests=1, prompt_tokens=2, completion_tokens=1, cost_nano_usd=5)


def told(unsettled: Unsettled, sequence: int) -> list[tuple[str, int, int]]:
    mark = Mark("s", sequence)
    return [(part.day, part.tokens, part.nano_usd) for part in unsettled.of("ci", mark)]


def test_it_counts_until_the_account_is_made_up_to_its_report() -> None:
    unsettled = Unsettled()
    unsettled.add("ci", "d1", ONE)
    unsettled.reported(1)
    unsettled.add("ci", "d1", ONE)
    assert told(unsettled, 99) == [("d1", 3, 5), ("d1", 3, 5)]
    unsettled.kept(1, 7)
    assert told(unsettled, 6) == [("d1", 3, 5), ("d1", 3, 5)]

    assert told(unsettled, 7) == [("d1", 3, 5)]
    unsettled.reported(2)
    unsettled.kept(2, 8)
    assert told(unsettled, 8) == []


def test_two_days_in_one_report_are_told_apart() -> None:
    unsettled = Unsettled()
    unsettled.add("ci", "d1", ONE)
    unsettled.add("ci", "d2", ONE)
    unsettled.reported(1)
    unsettled.kept(1, 7)

    assert told(unsettled, 6) == [("d1", 3, 5), ("d2", 3, 5)]
    assert told(unsettled, 7) == []


def test_it_does_not_grow_where_nobody_makes_up_books() -> None:
    unsettled = Unsettled()
    for number in range(10 * MOST):
        unsettled.add("ci", "d1", ONE)
        unsettled.reported(number)
        unsettled.kept(number, number + 1)

    left = told(unsettled, 0)
    assert len(left) <= MOST
    assert sum(tokens for _, tokens, _ in left) == 30 * MOST
