"""Where a mesh is now: at the addresses that are known, or where the local network says."""

import asyncio
from collections.abc import Iterable

from bus.greeting import greeting
from ops.joining import multicast

KNOCK_S = 2.0
OTHERS_S = 0.1
"""Once one address has answered, the others get so long."""


async def find(mesh: str, addresses: Iterable[str]) -> tuple[str, ...]:
    """Those addresses at which a server of that name answers; empty when it is nowhere."""
    found = await answering(mesh, addresses)
    return found or await answering(mesh, await _nearby(mesh))


async def answering(mesh: str, addresses: Iterable[str]) -> tuple[str, ...]:
    """In the order in which they are given. A name is a claim, to be proven on connecting."""
    knocks = {asyncio.create_task(_is_at(mesh, address)): address for address in addresses}
    if not knocks:
        return ()
    try:
        async with asyncio.timeout(KNOCK_S):
            for knock in asyncio.as_completed(knocks):
                if await knock:
                    await asyncio.sleep(OTHERS_S)
                    break
    except TimeoutError:
        pass
    there = {task for task in knocks if task.done() and not task.cancelled() and task.result()}
    for task in knocks:
        task.cancel()
    await asyncio.gather(*knocks, return_exceptions=True)
    return tuple(address for task, address in knocks.items() if task in there)


def split(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[host]:port``."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def _is_at(mesh: str, address: str) -> bool:
    found = await greeting(*split(address))
    return found is not None and found.name == mesh


async def _nearby(mesh: str) -> tuple[str, ...]:
    try:
        seen = await multicast.browse(sought=mesh)
    except multicast.Unheard:
        return ()
    return tuple(address for nearby in seen if nearby.mesh == mesh for address in nearby.addresses)
