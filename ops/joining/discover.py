"""`odyssai discover`: the meshes on the local network."""

import argparse
import asyncio
import sys

from ops.console.tables import Table, show
from ops.joining import multicast
from ops.joining.multicast import Nearby, Unheard


def main(args: argparse.Namespace) -> int:
    try:
        found = asyncio.run(multicast.browse(args.wait))
    except Unheard as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    show(table(found))
    return 0


def table(found: list[Nearby]) -> Table:
    return Table(
        heads=("MESH", "ADDRESSES", "VERSION"),
        rows=[(nearby.mesh, ", ".join(nearby.addresses), nearby.version) for nearby in found],
        nothing="No mesh says that it is here; one does when its bus listens beyond loopback: "
        "`odyssai up --bus-host 0.0.0.0`.",
        notes=["To join one takes an invitation: `odyssai invite` there."] if found else [],
    )
