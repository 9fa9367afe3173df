"""Which entries of some reports belong in which book, and what is known once they are in all."""

import re
from collections.abc import Iterable

from msgspec import Struct, field

from proto.keys import account_of
from proto.usage import MOST_BOOTS, Entry, Head, Mark, UsageReport, Used

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
Place = tuple[int, UsageReport | None]
"""In the stream; None stands for one that cannot be read."""


class Sorted(Struct):
    """What a round of bookkeeping is about to write down."""

    upto: int
    days: dict[str, list[Entry]] = field(default_factory=dict)
    accounts: dict[str, list[Entry]] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    """As in ``Head``."""


AGAIN = "'"
"""Behind a stream's name for each time that it was found shorter than it had been."""


def stream_after(counted: Mark, made: str, last: int) -> str:
    """What the stream is called in books, whose latest report has the place ``last``.

    A server whose power was cut may have forgotten reports that are in the books, and gives their
    places to others: from then on it is as good as another stream.
    """
    if counted.stream.rstrip(AGAIN) != made:
        return made
    return counted.stream + AGAIN if last < counted.sequence else counted.stream


def sort(head: Head, reports: Iterable[Place]) -> Sorted:
    """A report that was kept before counts no more: what is sorted depends on what the stream
    holds alone, however often it is begun anew from ``head``.
    """
    made = Sorted(upto=head.counted.sequence, boots=dict(head.boots))
    for sequence, report in reports:
        made.upto = sequence
        if report is None:
            continue
        before = made.boots.pop(report.boot, 0)
        made.boots[report.boot] = max(before, report.number)
        for used in filter(_is_dated, report.used):
            # Its gateway waits for an account that is made up to here, also where it counts not.
            entries = made.accounts.setdefault(account_of(used.item.key), [])
            if report.number > before:
                entries.append((sequence, used))
                made.days.setdefault(used.day, []).append((sequence, used))
    return made


def _is_dated(used: Used) -> bool:
    """What is not has no book: a day's name is where it is kept."""
    return bool(_DAY.fullmatch(used.day))


def head_after(made: Sorted, stream: str) -> Head:
    """Lives of gateways that have been silent for longest are forgotten."""
    latest = list(made.boots.items())[-MOST_BOOTS:]
    return Head(counted=Mark(stream, made.upto), boots=dict(latest))
