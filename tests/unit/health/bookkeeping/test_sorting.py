"""Books are exact, whatever is said twice and wherever their keeper is cut off."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from proto.ids import GatewayId
from proto.keys import Spending, account_of, spent_by
from proto.usage import (
    MOST_BOOTS,
    NOTHING,
    Amounts,
    Book,
    Head,
    Item,
    Mark,
    UsageReport,
    Used,
    entered,
)
from services.health.bookkeeping.sorting import Place, head_after, sort, stream_after

STREAM = "2026-11-26T00:00:00"
KEYS, DAYS = ("ci", "team", "others"), ("2026-11-26", "2026-11-27")


class Kept(NamedTuple):
    """What a bookkeeper that is cut off leaves behind."""

    books: dict[str, Book]
    accounts: dict[str, Spending]
    heads: list[Head]


def keep(kept: Kept, stream: list[Place], most: int, writes: int) -> int:
    """One round, cut off after so many writes; those that were made."""
    head = kept.heads[-1]
    reports = [place for place in stream if place[0] > head.counted.sequence][:most]
    made, done = sort(head, reports), 0
    for day, entries in made.days.items():
        if done == writes:
            return done
        kept.books[day] = entered(kept.books.get(day, Book()), STREAM, entries, made.upto)
        done += 1
    for account, entries in made.accounts.items():
        if done == writes:
            return done
        before = kept.accounts.get(account, Spending())
        kept.accounts[account] = spent_by(before, STREAM, entries, made.upto)
        done += 1
    if done < writes:
        kept.heads.append(head_after(made, STREAM))
    return done + 1


used = st.builds(
    Used,
    st.sampled_from(DAYS),
    st.builds(Item, st.sampled_from(KEYS), st.sampled_from(("a", "b")), st.just("")),
    st.builds(
        Amounts,
        requests=st.just(1),
        prompt_tokens=st.integers(0, 9),
        completion_tokens=st.integers(0, 9),
        cost_nano_usd=st.integers(0, 9),
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Place], list[Used]]:
    """What gateways said, each report once or more often, and what they served."""
    said: list[list[UsageReport]] = []
    served: list[Used] = []
    for boot in draw(st.sampled_from(([], ["one"], ["one", "two"]))):
        reports = draw(st.lists(st.lists(used, max_size=3), max_size=5))
        own = []
        for number, each in enumerate(reports, 1):
            report = UsageReport(
                gateway=GatewayId(f"g.{boot}"), boot=boot, number=number, used=tuple(each)
            )
            own += [report] * draw(st.integers(1, 3))
            served += each
        said.append(own)
    mixed: list[UsageReport] = []
    while any(said):
        mixed.append(draw(st.sampled_from([own for own in said if own])).pop(0))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(mixed), max_size=len(mixed)))
    places = [sum(gaps[: n + 1]) for n in range(len(mixed))]
    return list(zip(places, mixed, strict=True)), served


@given(streams(), st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), max_size=8))
def test_each_request_counts_once_in_every_book(
    told: tuple[list[Place], list[Used]], rounds: list[tuple[int, int]]
) -> None:
    stream, served = told
    kept = Kept({}, {}, [Head()])
    for most, writes in rounds:
        keep(kept, stream, most, writes)
    while kept.heads[-1].counted.sequence < (stream[-1][0] if stream else 0):
        keep(kept, stream, 3, 100)

    rows = {(day, item): it for day, book in kept.books.items() for item, it in book.rows}
    expected: dict[tuple[str, Item], Amounts] = {}
    for each in served:
        place = (each.day, each.item)
        expected[place] = expected.get(place, NOTHING) + each.amounts
    assert rows == expected
    for key in KEYS:
        mine = [each.amounts for each in served if each.item.key == key]
        account = kept.accounts.get(account_of(key), Spending())
        assert account.in_all == sum(amounts.tokens for amounts in mine)
        assert account.nano_usd_in_all == sum(amounts.cost_nano_usd for amounts in mine)


def report(number: int, boot: str = "one", day: str = DAYS[0]) -> UsageReport:
    row = Used(day, Item("ci", "a", ""), Amounts(requests=1, prompt_tokens=1))
    return UsageReport(gateway=GatewayId("g.one"), boot=boot, number=number, used=(row,))


def test_a_report_that_was_kept_twice_moves_its_account_and_adds_nothing() -> None:
    made = sort(Head(counted=Mark(STREAM, 5), boots={"one": 3}), [(9, report(3))])

    assert made.days == {}
    assert made.accounts == {"ci": []}
    assert spent_by(Spending(), STREAM, [], made.upto).counted == Mark(STREAM, 9)


def test_what_cannot_be_read_or_has_no_day_is_passed_over() -> None:
    made = sort(Head(), [(1, None), (2, report(1, day="../../etc")), (3, report(2))])

    assert made.upto == 3
    assert list(made.days) == [DAYS[0]]


def test_a_stream_that_was_made_anew_counts_from_its_beginning() -> None:
    entries = [(1, report(1).used[0])]
    book = entered(Book(), "older", [(70, report(1).used[0])], 70)
    spent = spent_by(Spending(), "older", [(70, report(1).used[0])], 70)

    assert dict(entered(book, STREAM, entries, 1).rows)[Item("ci", "a", "")].requests == 2
    assert spent_by(spent, STREAM, entries, 1).in_all == 2


def test_a_stream_that_forgot_reports_counts_what_takes_their_places() -> None:
    counted = Mark(STREAM, 70)

    assert stream_after(counted, STREAM, 70) == STREAM
    shorter = stream_after(counted, STREAM, 69)
    assert shorter != STREAM
    assert stream_after(Mark(shorter, 3), STREAM, 3) == shorter
    assert stream_after(Mark(shorter, 3), STREAM, 2) not in (shorter, STREAM)
    assert stream_after(Mark(shorter, 3), "newer", 9) == "newer"


def test_lives_of_gateways_that_were_heard_of_late_are_known() -> None:
    reports: list[Place] = [(n + 1, report(1, f"b{n}")) for n in range(MOST_BOOTS)]
    reports += [(MOST_BOOTS + 1, report(2, "b0")), (MOST_BOOTS + 2, report(1, "new"))]
    head = head_after(sort(Head(), reports), STREAM)

    assert len(head.boots) == MOST_BOOTS
    assert head.boots["b0"] == 2
    assert "b1" not in head.boots
