"""The commands that change something: each an order, followed until it is carried out."""

import argparse
import os

from bus import jobs
from bus.connection import Bus
from ops.console.following import follow, tell
from ops.console.operator import operator
from ops.console.orders import ORDERS
from ops.console.terminal import run


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    # From the environment: arguments are seen by everybody on the machine.
    token = os.environ.get("HF_TOKEN", "") if args.order in ("pull", "load") else ""
    job = await jobs.submit(bus, ORDERS[args.order](args), operator(), token)
    if args.detach:
        tell(job, args.json)
        return 0
    return await follow(bus, job, args.json)
