"""One machine that is being worked on: its connection, what it is, and what lies there."""

import shlex
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from ops.remote import preflight, session
from ops.remote.errors import Foreign, Unfit
from ops.remote.host import Host
from ops.remote.keeper.keeper import Keeper, Run
from ops.remote.keeper.known import KEEPERS
from ops.remote.layout import Deployed, Layout
from ops.remote.preflight import Finding, Machine
from ops.remote.session import Session

EXAMINE = Path(__file__).with_name("examine.sh")
REACH_S = 20.0


class Site(Struct, frozen=True, kw_only=True):
    session: Session
    machine: Machine
    layout: Layout
    deployed: Deployed | None
    """What was deployed there before; None: nothing."""
    findings: tuple[Finding, ...]

    def run(self, deployed: Deployed) -> Run:
        """The node that was, or will be."""
        return Run(
            node=deployed.node,
            layout=self.layout,
            user_home=self.machine.home,
            user_id=self.machine.user_id,
            arguments=deployed.arguments,
        )

    def keeper(self, deployed: Deployed) -> Keeper:
        """Raises Foreign."""
        if deployed.keeper not in KEEPERS:
            raise Foreign(
                f"{self.session.host}: {deployed.node} is kept running by {deployed.keeper}, whom "
                "this odyssai does not know; it is older than the one that deployed it"
            )
        return KEEPERS[deployed.keeper]

    def check(self) -> None:
        """Raises Unfit."""
        if fails := [each.sentence for each in self.findings if each.level == "fails"]:
            raise Unfit(f"{self.session.host}: {' '.join(fails)}")


@asynccontextmanager
async def at(host: Host, folder: str) -> AsyncIterator[Site]:
    """Raises RemoteError."""
    async with session.connect(host) as connected:
        machine, findings = await _examined(connected, folder)
        layout = Layout(machine.folder)
        yield Site(
            session=connected,
            machine=machine,
            layout=layout,
            deployed=await _deployed(connected, layout),
            findings=tuple(findings),
        )


async def _examined(connected: Session, folder: str) -> tuple[Machine, list[Finding]]:
    began_s, began = time.time(), time.monotonic()
    script = f"set -- {shlex.quote(folder)}\n{EXAMINE.read_text()}"
    said = await connected.run(script)
    rtt_s = time.monotonic() - began
    try:
        machine = preflight.read(said)
    except ValueError as error:
        raise Unfit(f"{connected.host}: {error}") from error
    # It is read somewhere in between, and told in whole seconds.
    return machine, preflight.judge(machine, began_s + rtt_s / 2, rtt_s / 2 + 1)


async def _deployed(connected: Session, layout: Layout) -> Deployed | None:
    text = await connected.read(layout.deployed)
    try:
        return msgspec.json.decode(text, type=Deployed) if text else None
    except msgspec.DecodeError as error:
        raise Foreign(
            f"{connected.host}: {layout.deployed} is not what odyssai left there ({error})"
        ) from error


async def unreached(site: Site, python: str, addresses: tuple[str, ...]) -> str:
    """Why the bus cannot be reached from there; empty: one of the addresses answers."""
    script = shlex.join([python, "-c", _KNOCK, str(REACH_S / 4), *addresses])
    if await site.session.succeeds(script):
        return ""
    return (
        f"{site.session.host} reaches the bus at none of {', '.join(addresses)}: start "
        "`odyssai up` with --bus-host 0.0.0.0, or let its port through the firewall"
    )


_KNOCK = """
import socket, sys
for address in sys.argv[2:]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), float(sys.argv[1])).close()
    except OSError:
        continue
    sys.exit(0)
sys.exit(1)
"""
