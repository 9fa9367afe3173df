"""`odyssai credentials`: who may be on the bus, new keys, and who may no longer."""

import argparse
import time

import msgspec

from bus import membership
from bus.connection import Bus
from bus.home import write_private
from bus.key import Key
from bus.membership import Membership, known_membership
from ops import reach
from ops.console.operator import operator
from ops.console.tables import Table, show
from ops.console.terminal import run
from proto.credentials import (
    CERTIFICATE,
    Credential,
    Dismiss,
    Holder,
    ListCredentials,
    Renew,
    Rotate,
)
from proto.errors import Code, MeshError
from proto.subjects import CREDENTIALS, DISMISS, RENEW, ROTATE


def main(args: argparse.Namespace) -> int:
    home = args.home.expanduser().absolute()
    member = None if args.nats else known_membership(home)
    if member and args.act == "rotate":
        return run(
            lambda args, bus: _renew(args, bus, member),
            args,
            lambda _: Bus.connect(member.url(home), reach.own_name(), reach.CONNECT_S),
        )
    return run(_ACTS[args.act], args)


async def _list(args: argparse.Namespace, bus: Bus) -> int:
    known = await _known(bus)
    if args.json:
        print(msgspec.json.encode(known).decode())
    else:
        show(table(known))
    return 0


async def _rotate(args: argparse.Namespace, bus: Bus) -> int:
    if args.whose == CERTIFICATE:
        await bus.ask(ROTATE, Rotate(credential=CERTIFICATE, actor=operator()))
        print("the bus server has a new certificate")
        return 0
    whose = one_of(await _known(bus), args.whose)
    await bus.ask(ROTATE, Rotate(credential=str(whose), actor=operator()))
    print(f"{whose} has a new key, which its processes take up within a second")
    return 0


async def _revoke(args: argparse.Namespace, bus: Bus) -> int:
    whose = one_of(await _known(bus), args.whose)
    await bus.ask(DISMISS, Dismiss(holder=str(whose), actor=operator()))
    print(f"{whose} is cut off")
    return 0


async def _renew(args: argparse.Namespace, bus: Bus, member: Membership) -> int:
    """A machine that joined makes itself a new key; the home learns its public half."""
    own = Holder(member.role, member.node)
    if args.whose not in (None, member.role, member.node, str(own)):
        raise MeshError(
            Code.FORBIDDEN, f"This home is {member.described} and has its own key only."
        )
    folder = membership.folder_of(args.home.expanduser().absolute())
    key = Key.fresh()
    # Written first: were it lost behind a yes, nobody could come in by it.
    write_private(folder / membership.NEXT_SEED, key.seed)
    await bus.ask(RENEW, Renew(holder=str(own), key=key.public), str(own))
    (folder / membership.NEXT_SEED).replace(folder / membership.SEED)
    print(f"{own} has a new key, which its processes take up within a second")
    return 0


async def _known(bus: Bus) -> tuple[Credential, ...]:
    return (await bus.ask(CREDENTIALS, ListCredentials())).credentials


def one_of(known: tuple[Credential, ...], whose: str | None) -> Holder:
    """By role, by name, or by both. Raises MeshError unless that is one."""
    holders = [Holder(each.role, each.name) for each in known]
    found = [each for each in holders if whose in (each.role, each.name, str(each))]
    if len(found) == 1:
        return found[0]
    choice = ", ".join(map(str, found or holders))
    raise MeshError(
        Code.NOT_FOUND if not found else Code.INVALID_REQUEST,
        f"Say which credential: {choice}."
        if found or not whose
        else f"There is no {whose}, but {choice}.",
    )


def table(known: tuple[Credential, ...]) -> Table:
    return Table(
        heads=("ROLE", "NAME", "FINGERPRINT", "SINCE", "SEED"),
        rows=[
            (
                each.role,
                each.name,
                each.fingerprint + (" (changing)" if each.is_changing else ""),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(each.since_s)),
                "here" if each.is_local else "there",
            )
            for each in known
        ],
        nothing="Nobody has a credential of this bus.",
    )


_ACTS = {"list": _list, None: _list, "rotate": _rotate, "revoke": _revoke}
