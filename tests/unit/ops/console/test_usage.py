"""`odyssai usage`: what people are shown of the books."""

import pytest

from ops import command
from ops.console.tables import plain
from ops.console.usage import table
from proto.usage import Amounts, Book, Item
from proto.usage_view import By, usage_view

DAYS = ["2026-11-25", "2026-11-26"]
LOCAL, CLOUD = Item("ci", "tiny", ""), Item("team", "or:big", "or")
BOOKS = {
    DAYS[0]: Book(rows=((LOCAL, Amounts(3, 3000, 200, 1000)),)),
    DAYS[1]: Book(
        rows=(
            (LOCAL, Amounts(1, 10, 5)),
            (CLOUD, Amounts(2, 1000, 100, 0, 0, 4_500_000, estimated=1, unpriced=1)),
        )
    ),
}


def shown(*by: By, key: str | None = None) -> list[list[str]]:
    return [line.split() for line in plain(table(usage_view(BOOKS, DAYS, by, key))).splitlines()]


def test_days_are_told_apart_and_added_up() -> None:
    assert shown("day") == [
        ["DAY", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "COST"],
        ["2026-11-25", "3", "3,000", "1,000", "200", "$0.00"],
        ["2026-11-26", "3", "1,010", "0", "105", "$0.0045"],
        ["all", "6", "4,010", "1,000", "305", "$0.0045"],
    ]


def test_several_things_may_be_told_apart_and_one_key_be_looked_at() -> None:
    assert shown("provider", "key") == [
        ["KEY", "PROVIDER", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "COST"],
        ["ci", "own", "4", "3,010", "1,000", "205", "$0.00"],
        ["team", "or", "2", "1,000", "0", "100", "$0.0045"],
        ["all", "6", "4,010", "1,000", "305", "$0.0045"],
    ]
    assert shown("model", key="team")[1:] == [["or:big", "2", "1,000", "0", "100", "$0.0045"]]


def test_what_is_reckoned_and_what_has_no_price_is_said() -> None:
    without_price, reckoned = table(usage_view(BOOKS, DAYS, ["day"])).notes

    assert without_price.startswith("1 requests went to providers for models that nobody has")
    assert reckoned.startswith("1 were cut before their provider told its count")
    assert table(usage_view({}, DAYS, ["day"])).notes == []
    assert plain(table(usage_view({}, DAYS, ["day"]))) == (
        "Nothing was used from 2026-11-25 to 2026-11-26."
    )


@pytest.mark.parametrize("flags", [("--by", "colour"), ("--days", "401")])
def test_what_cannot_be_told_apart_is_refused(
    flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["usage", *flags]) == 2
    assert capsys.readouterr().err.startswith("odyssai: ")
