"""`odyssai join`: this machine becomes part of a mesh, and runs what it was invited for."""

import argparse
import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from bus.membership import Membership, known_membership
from ops import up
from ops.joining.entry import CONNECT_S, CannotJoin, enter
from ops.joining.finding import find
from ops.screen import Screen
from ops.supervisor import BusSilent
from proto.errors import MeshError
from proto.joining import BadToken, Token

AGAIN_S = 2.0
"""Between two looks for a mesh that this machine belongs to and that is not there."""


def main(args: argparse.Namespace) -> int:
    try:
        asyncio.run(_main(args, Screen()))
    except (
        CannotJoin, up.CannotStart, BusSilent, HomeError, BusError, MeshError, BadToken
    ) as error:  # fmt: skip
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    return 0


async def _main(args: argparse.Namespace, screen: Screen) -> None:
    home = args.home.expanduser().absolute()
    if args.token:
        # Where others could see what is typed, it is not.
        token = sys.stdin.readline() if args.token == "-" else args.token
        member = await enter(home, Token.read(token), args.node, up.node_name())
    else:
        member = await _return(home, screen)
    screen.say(member.described)
    if args.only_enter:
        return
    if member.role == "ops":
        screen.say(f"hears telemetry at {member.url(home)}: `odyssai watch --home {home}`")
        return
    # What `odyssai up --only SERVICE` on this home does.
    args.only = member.role
    plan = replace(up.planned(args), nats=member.url(home))
    await up.run(plan, screen)


async def _return(home: Path, screen: Screen) -> Membership:
    """Wait until the mesh that the home belongs to is found. Raises CannotJoin, BusError."""
    member = known_membership(home)
    if member is None:
        raise CannotJoin(f"{home} belongs to no mesh yet; give the token of `odyssai invite`")
    while not (addresses := await find(member.mesh, member.addresses)):
        screen.progress(f"waiting for mesh {member.mesh} at {', '.join(member.addresses)} …")
        await asyncio.sleep(AGAIN_S)
    found = structs.replace(member, addresses=addresses)
    async with Bus.connect(found.url(home), f"join:{member.node}", CONNECT_S):
        return found
