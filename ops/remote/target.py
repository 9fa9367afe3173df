"""Where nodes are to belong: the mesh of this home, which lets machines in."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bus import embedded
from bus.connection import Bus
from bus.embedded import Access
from ops.console.terminal import Act, complain
from ops.console.terminal import run as run_console
from ops.remote.errors import Refused, RemoteError
from ops.remote.host import BadHost
from ops.remote.release import release_of
from ops.remote.rollout import Target


def run(act: Act, args: argparse.Namespace) -> int:
    """As the console's commands run, with what may go wrong on other machines."""
    args.nats = None
    try:
        return run_console(act, args)
    except (RemoteError, BadHost) as error:
        complain(str(error))
        return 1


@contextmanager
def of_home(args: argparse.Namespace, bus: Bus) -> Iterator[Target]:
    """Raises Refused, NotBuilt, HomeError."""
    access = access_of(args)
    with release_of() as release:
        yield Target(
            bus=bus,
            home=args.home.expanduser().absolute(),
            mesh=access.name,
            addresses=access.reachable,
            release=release,
            turn=asyncio.Lock(),
        )


def access_of(args: argparse.Namespace) -> Access:
    """Raises Refused, HomeError."""
    home = args.home.expanduser().absolute()
    access = embedded.known_access(home)
    if access is None:
        raise Refused(
            f"{home} has no bus of its own; machines are deployed to from the home that lets "
            "others in: that of `odyssai up` with its bus, or of `odyssai bus keep`"
        )
    return access
