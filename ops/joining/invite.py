"""`odyssai invite`: a token by which one machine may join, as a node or in another role."""

import argparse
import sys
import time

from bus.connection import Bus
from bus.errors import NobodyThere
from ops.console.operator import operator
from ops.console.terminal import run
from proto.credentials import InviteRole
from proto.errors import Code, MeshError
from proto.joining import Invite, Invited
from proto.subjects import INVITE, INVITE_ROLE


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    try:
        invited = await _invited(args, bus)
    except NobodyThere as error:
        raise MeshError(
            Code.FORBIDDEN,
            "nobody gives invitations for this bus: that is done by `odyssai up` that brought it "
            "along. On a bus of your own, `odyssai runner --nats URL` takes part.",
        ) from error
    # The token alone goes to standard output, so that TOKEN=$(odyssai invite) holds just it.
    print(invited.token, flush=True)
    print(explanation(invited), file=sys.stderr)
    return 0


async def _invited(args: argparse.Namespace, bus: Bus) -> Invited:
    if args.role == "runner":
        return await bus.ask(
            INVITE, Invite(node=args.for_node, lasts_s=args.expires, actor=operator())
        )
    asked = InviteRole(role=args.role, name=args.for_node, lasts_s=args.expires, actor=operator())
    return await bus.ask(INVITE_ROLE, asked)


def explanation(invited: Invited) -> str:
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(invited.expires_s))
    said = f"\nGood for one machine until {until}. There, run:\n\n  odyssai join TOKEN\n"
    if invited.is_local:
        said += (
            "\nThe bus listens on this machine only. For others, start it again with\n"
            "  odyssai up --bus-host 0.0.0.0\nand invite anew.\n"
        )
    return said
