"""`odyssai usage`: what was used and what it cost, by key, model, day or provider."""

import argparse
from datetime import UTC, datetime, timedelta

import msgspec

from bus import usage
from bus.connection import Bus
from ops.console.home_bus import with_bus
from ops.console.tables import Table, show
from ops.console.terminal import complain, run
from proto.money import nano_usd, shown
from proto.usage_view import BYS, MOST_DAYS, By, UsageLine, UsageView, days, usage_view

HEADS = ("REQUESTS", "PROMPT", "CACHED", "COMPLETION", "COST")


def main(args: argparse.Namespace) -> int:
    unknown = [name for name in args.by if name not in BYS]
    if unknown or args.days > MOST_DAYS:
        what = f"--by takes {', '.join(BYS)}, not {unknown[0]}" if unknown else ""
        complain(what or f"usage is kept for {MOST_DAYS} days; ask for less than {args.days}")
        return 2
    return run(_main, args, with_bus)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    last = datetime.now(UTC).date()
    wanted = days(last - timedelta(args.days - 1), last)
    by: list[By] = args.by
    view = usage_view(await usage.read_books(bus, wanted), wanted, by, args.key, args.model)
    if args.json:
        print(msgspec.json.encode(view).decode())
    else:
        show(table(view))
    return 0


def table(view: UsageView) -> Table:
    rows = [(*(str(getattr(line, by)) for by in view.by), *_cells(line)) for line in view.data]
    if len(rows) > 1:
        rows.append(("all", *("" for _ in view.by[1:]), *_cells(view.total)))
    return Table(
        heads=(*(by.upper() for by in view.by), *HEADS),
        rows=rows,
        nothing=f"Nothing was used from {view.first_day} to {view.last_day}.",
        notes=list(_notes(view.total)),
    )


def _cells(line: UsageLine) -> tuple[str, ...]:
    counts = (line.requests, line.prompt_tokens, line.cached_tokens, line.completion_tokens)
    return (*(f"{count:,}" for count in counts), shown(nano_usd(line.cost_usd)))


def _notes(total: UsageLine) -> list[str]:
    notes = []
    if total.unpriced_requests:
        notes.append(
            f"{total.unpriced_requests:,} requests went to providers for models that nobody has a "
            "price for; `prices` of a provider in odyssai.yaml gives one."
        )
    if total.estimated_requests:
        notes.append(
            f"{total.estimated_requests:,} were cut before their provider told its count: their "
            "tokens are reckoned by the length of what was said."
        )
    return notes
