"""`odyssai audit`: who did what to the mesh, and with what outcome."""

import argparse
import signal
import time
from contextlib import aclosing

import msgspec

from bus import audit
from bus.connection import Bus
from ops.console.terminal import run
from proto.audit import AuditEvent


def main(args: argparse.Namespace) -> int:
    # `odyssai audit | head` ends without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    async with aclosing(audit.acts(bus, time.time() - args.since, follows=args.follow)) as acts:
        async for event in acts:
            print(msgspec.json.encode(event).decode() if args.json else line(event), flush=True)
    return 0


def line(event: AuditEvent) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at_s))
    by = " from ".join(filter(None, (event.by, event.address))) or "somebody"
    times = f" ({event.count} times)" if event.count > 1 else ""
    what = " ".join(filter(None, (event.act, event.target)))
    parts = [f"{what}{times}", f"by {by}", event.outcome, event.detail]
    return f"{at}  {' · '.join(filter(None, parts))}"
