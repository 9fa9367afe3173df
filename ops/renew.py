"""`odyssai renew`: this machine's services start anew, one after the other; no request is lost."""

import argparse
import asyncio
import sys
from pathlib import Path

from ops import control


def main(args: argparse.Namespace) -> int:
    try:
        return asyncio.run(_renew(args.home.expanduser().absolute(), args.services))
    except control.NobodyAtHome as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1


async def _renew(home: Path, services: list[str]) -> int:
    async for kind, text in control.renew(home, services):
        if kind == control.FAILED:
            print(f"odyssai: {text}", file=sys.stderr)
            return 1
        if kind == control.STEP:
            print(text, flush=True)
    return 0
