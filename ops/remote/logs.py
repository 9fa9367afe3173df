"""`odyssai logs`: what a node's processes say, over ssh."""

import argparse
import asyncio
import shlex
from contextlib import aclosing

from bus.home import HomeError
from ops.console.terminal import complain
from ops.remote import records, session
from ops.remote.errors import RemoteError
from ops.remote.layout import Layout
from ops.remote.records import Deployment


def main(args: argparse.Namespace) -> int:
    """The mesh is not asked: logs are of most use where it is at rest."""
    try:
        home = args.home.expanduser().absolute()
        asyncio.run(_show(records.find(home, args.node), args))
    except (RemoteError, HomeError) as error:
        complain(str(error))
        return 1
    return 0


async def _show(deployment: Deployment, args: argparse.Namespace) -> None:
    script = tail(Layout(deployment.folder), args.lines, args.follow)
    async with (
        session.connect(deployment.host) as connected,
        aclosing(connected.follow(script)) as lines,
    ):
        async for line in lines:
            print(line, flush=True)


def tail(layout: Layout, lines: int, follow: bool) -> str:
    """Of each file under its name. What follows ends with its input, and that with the connection:
    without a terminal nobody else would end it.
    """
    place = f"cd {shlex.quote(layout.logs)} || exit 1"
    if not follow:
        return f"{place}\ntail -n {lines} *.log"
    return f"{place}\ntail -n {lines} -F *.log &\ntail=$!\ncat >/dev/null\nkill $tail"
