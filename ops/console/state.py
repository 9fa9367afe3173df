"""`odyssai state`: records of shared state that nobody can read, and their removal."""

import argparse

from bus import buckets
from bus.connection import Bus
from ops.console.tables import Table, show
from ops.console.terminal import complain, run


def main(args: argparse.Namespace) -> int:
    return run(_drop if args.drop else _look, args)


async def _look(_: argparse.Namespace, bus: Bus) -> int:
    """1 where something cannot be read."""
    found = await buckets.unreadable(bus)
    show(table(found))
    return 1 if found else 0


def table(found: dict[str, str]) -> Table:
    notes = [
        "They are ignored; who knew what they said goes by that. Where they are of a newer "
        "version, run that everywhere; else `odyssai state --drop RECORD` removes one."
    ]
    return Table(
        heads=("RECORD", "WHY IT CANNOT BE READ"),
        rows=sorted(found.items()),
        nothing="Every record of the mesh's state can be read.",
        notes=notes if found else [],
    )


async def _drop(args: argparse.Namespace, bus: Bus) -> int:
    if not await buckets.drop(bus, args.drop):
        complain(f"there is no record {args.drop}; `odyssai state` lists what cannot be read")
        return 1
    print(f"{args.drop} is removed.")
    return 0
