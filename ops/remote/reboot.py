"""`odyssai reboot`: a node's machine starts anew, unless that would harm somebody."""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress

import msgspec

from bus.connection import Bus
from ops.console.operator import audit_log, operator
from ops.remote import mesh, preflight, records, site
from ops.remote.errors import CommandFailed, NotSeen, Refused, Unreachable
from ops.remote.site import EXAMINE, Site
from ops.remote.target import access_of, run
from proto.overview import NodeView
from services.gateway.http.loopback import is_loopback

BACK_S = 900.0
"""Till a machine is heard again: large Macs take minutes."""


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    deployment = records.find(args.home.expanduser().absolute(), args.node)
    hosts = [address.rpartition(":")[0].strip("[]") for address in access_of(args).reachable]
    async with site.at(deployment.host, deployment.folder) as found:
        seen = await mesh.look_at(bus, args.node)
        own = await _own_boot()
        if own == found.machine.boot or await _is_at(found, hosts):
            raise Refused(
                f"{args.node} is on the machine that runs the mesh's bus: everything would end. "
                "End `odyssai up` there, and restart it by hand"
            )
        check_rest(args.node, seen, is_forced=args.force)
        if not args.yes and not _confirmed(args.node, found):
            return 1
        async with audit_log(bus).act("node.reboot", operator(), args.node):
            await _reboot(found)
    print(f"{args.node} starts anew", flush=True)
    return 0 if args.detach else await _back(bus, args.node, seen)


def check_rest(node: str, seen: NodeView | None, *, is_forced: bool) -> None:
    """Raises Refused while it serves somebody."""
    busy = sum(each.running + each.queued for each in seen.engines) if seen else 0
    if busy and not is_forced:
        requests = "1 request runs" if busy == 1 else f"{busy} requests run"
        raise Refused(
            f"{requests} on {node}; `odyssai drain {node}` lets them end and sends new ones "
            "elsewhere, --force does not wait"
        )


def _confirmed(node: str, found: Site) -> bool:
    """Raises Refused where nobody can be asked."""
    if not sys.stdin.isatty():
        raise Refused(f"nobody is here to be asked whether {node} may be restarted; say --yes")
    asked = f"Restart {node} ({found.session.host}, {found.machine.described})? [y/N] "
    return input(asked).strip().lower() in ("y", "yes")


async def _own_boot() -> str:
    """Of this machine: the bus of its home is here. Told by the same script."""
    script = f"set -- .\n{EXAMINE.read_text()}"
    asked = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await asked.communicate()
    return preflight.read(said.decode(errors="replace")).boot


_ADDRESSES = (
    "import json, psutil; print(json.dumps([each.address for found in "
    "psutil.net_if_addrs().values() for each in found]))"
)


async def _is_at(found: Site, hosts: Iterable[str]) -> bool:
    """Whether one of the bus's addresses is that machine's."""
    said = await found.session.run(shlex.join([found.layout.python, "-c", _ADDRESSES]))
    theirs = msgspec.json.decode(said, type=list[str])
    return is_among(theirs, [address for host in hosts for address in await _addresses(host)])


def is_among(theirs: Collection[str], bus: Iterable[str]) -> bool:
    """Loopback aside, which every machine has."""
    return any(address in theirs for address in set(bus) if not is_loopback(address))


async def _addresses(host: str) -> list[str]:
    """Empty where nobody knows the name."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        return [str(found[4][0]) for found in await loop.getaddrinfo(host, None)]
    return []


async def _reboot(found: Site) -> None:
    """Raises CommandFailed where the user may not."""
    command = "shutdown -r now" if found.machine.user_id == 0 else "sudo -n shutdown -r now"
    path = 'PATH="$PATH:/usr/sbin:/sbin"'
    try:
        await found.session.run(f"{path}; {command}")
    except Unreachable:
        return  # It was quick.
    except CommandFailed as error:
        raise CommandFailed(
            f"{error}; the user there needs the right to `sudo -n shutdown -r now`, without a "
            "password"
        ) from error


async def _back(bus: Bus, node: str, before: NodeView | None) -> int:
    """Raises NotSeen."""

    async def is_awaited() -> bool:
        return True

    try:
        await mesh.seen_anew(bus, node, before, is_awaited, BACK_S)
    except NotSeen as error:
        raise NotSeen(
            f"{node} is not back after {BACK_S / 60:.0f} minutes; where launchd keeps it, it "
            "starts when its user logs in"
        ) from error
    print(f"{node} is back", flush=True)
    return 0
