"""Engines that say on the local network that they are there.

What they say is not proven, so it is a suggestion, and nobody is asked anything for it.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from ops.console.tables import Table, show
from ops.joining.multicast import DETAILS_S, LOOK_S, SERVICE, Unheard, speaking, spoken

ENGINE, WEB = "_inference-engine._tcp.local.", "_http._tcp.local."
"""The first is longer than such names may be, and said all the same."""
PORTS = {11434: "Ollama", 1234: "LM Studio"}
"""Where makes are that do not name themselves, if nobody moved them."""


def main(args: argparse.Namespace) -> int:
    try:
        found = asyncio.run(browse(args.wait))
    except Unheard as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        show(table(found))
    return 0


class Suggestion(Struct, frozen=True):
    what: str
    name: str
    """As it calls itself."""
    address: str


def table(found: list[Suggestion]) -> Table:
    return Table(
        heads=("WHAT", "NAME", "ADDRESS"),
        rows=[(each.what, each.name, each.address) for each in found],
        nothing="No engine says on the local network that it is there. Most do not: "
        "`odyssai enroll http://host:port` asks one.",
        notes=["None is enrolled by this: `odyssai enroll ADDRESS` does it."] if found else [],
    )


async def browse(within_s: float = LOOK_S, on: Sequence[str] | None = None) -> list[Suggestion]:
    """Whoever was heard until then, by address. Raises Unheard."""
    names: set[tuple[str, str]] = set()

    def heard(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            names.discard((service_type, name))
        else:
            names.add((service_type, name))

    async with speaking(spoken(on)) as speaker:
        browser = AsyncServiceBrowser(speaker.zeroconf, [ENGINE, SERVICE, WEB], handlers=[heard])
        await asyncio.sleep(within_s)
        await browser.async_cancel()
        asked = [_details(speaker, service, name) for service, name in sorted(names)]
        found = await asyncio.gather(*asked)
    return sorted(filter(None, found), key=lambda each: each.address)


async def _details(speaker: AsyncZeroconf, service: str, name: str) -> Suggestion | None:
    info = AsyncServiceInfo(service, name)
    if not await info.async_request(speaker.zeroconf, DETAILS_S * 1000):
        return None
    hosts = [host for host in info.parsed_addresses() if ":" not in host]
    what = _what(service, info)
    if what is None or not hosts:
        return None
    short = name.removesuffix(f".{service}")
    if service == SERVICE:
        # What a mesh tells is its bus; which port its gateway has, it does not.
        return Suggestion(what, short, f"http://{hosts[0]}:8000")
    return Suggestion(what, short, f"http://{hosts[0]}:{info.port}")


def _what(service: str, info: AsyncServiceInfo) -> str | None:
    if service == SERVICE:
        return "odyssai-mesh"
    if service == ENGINE:
        return info.decoded_properties.get("engine") or "engine"
    return PORTS.get(info.port or 0)
