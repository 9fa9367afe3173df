"""`odyssai bus`: a bus of several servers, whose settings and credentials one home keeps."""

import argparse
import asyncio
import logging
import os
import re
import secrets
import signal
import sys
import time
from pathlib import Path

from bus import embedded, seeds
from bus.cluster import Seat, name_of, servers_folder
from bus.embedded import Access
from bus.home import ForeignState, HomeError, claim_home, private_folder
from services.log import start as log_start

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


def main(args: argparse.Namespace) -> int:
    home = args.home.expanduser().absolute()
    try:
        if args.act == "init":
            _explain(init(home, tuple(map(Seat.parse, args.server)), args.name))
        else:
            log_start("bus", args.log_level.upper(), shows_content=False)
            asyncio.run(keep(home))
    except (HomeError, ValueError) as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    return 0


def init(home: Path, seats: tuple[Seat, ...], name: str = "") -> Access:
    """What the servers and the mesh's own services need to begin with. Done again it changes only
    where the servers are. Raises HomeError, and ValueError for what is no name.
    """
    if name and not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a mesh; use letters, digits, - and _")
    claim = claim_home(home)
    try:
        folder = private_folder(home / "bus")
        before = embedded.known_access(home)
        if before is not None and not before.seats:
            raise ForeignState(f"{home} has a bus of its own already; choose another --home")
        name = name or (before.name if before else f"odyssai-{secrets.token_hex(4)}")
        access = Access(folder, name, seats[0].host, seats[0].port, str(folder / "ca.pem"), seats)
        members = seeds.settled(folder, embedded.known_members(home), None, time.time())
        embedded.keep_members(home, access, members)
        embedded.write_down(access)
    finally:
        os.close(claim)
    return access


async def keep(home: Path) -> None:
    """Let others in, make the mesh's buckets, and tell the servers of changes, until asked to stop.

    Raises HomeError.
    """
    from ops.joining.doorkeeper import Doorkeeper

    access = embedded.known_access(home)
    if access is None or not access.seats:
        raise ForeignState(f"{home} keeps no bus of several servers; run `odyssai bus init` first")
    claim = claim_home(home)
    try:
        keeping = asyncio.ensure_future(Doorkeeper(home, access).run())
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, keeping.cancel)
        log.info("keeping mesh %s at %s", access.name, ", ".join(access.addresses))
        await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()
    finally:
        os.close(claim)


def _explain(access: Access) -> None:
    folder = servers_folder(access.folder)
    home = access.folder.parent
    print(
        f"mesh {access.name}, {len(access.seats)} servers; on the machine of each, in {folder}:\n"
    )
    for number, seat in enumerate(access.seats, 1):
        print(f"  nats-server -c {name_of(number)}.conf -sd DIR   # {seat.address}")
    print(f"\nThen here:\n\n  odyssai bus keep --home {home}")
    print(f"  odyssai invite --home {home} --role gateway   # for each machine that takes part")
