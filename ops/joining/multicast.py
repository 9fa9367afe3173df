"""Meshes on the local network, by multicast DNS: where they are, never how to get in."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import zeroconf
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from bus import interfaces
from bus.embedded import Access

SERVICE = "_odyssai._tcp.local."
LOOK_S = 2.0
"""A machine that sleeps lightly answers within a second."""
DETAILS_S = 1.0


class Unheard(Exception):
    """The local network cannot be spoken to."""


@dataclass(frozen=True)
class Nearby:
    """A mesh that says it is here. Its name is claimed, not proven."""

    mesh: str
    addresses: tuple[str, ...]
    """``host:port`` each."""
    version: str


@asynccontextmanager
async def announced(
    access: Access, version: str, on: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Tell the network of this bus meanwhile. ``on``: the machine's addresses to tell it from;
    None: all. Raises Unheard.
    """
    told_from = spoken(on)
    service = AsyncServiceInfo(
        SERVICE,
        f"{access.name}.{SERVICE}",
        port=access.port,
        properties={"mesh": access.name, "version": version},
        parsed_addresses=list(told_from),
        server=f"{access.name}.local.",
    )
    async with speaking(told_from) as speaker:
        await (await speaker.async_register_service(service, allow_name_change=True))
        try:
            yield
        finally:
            await (await speaker.async_unregister_service(service))


async def browse(
    within_s: float = LOOK_S, on: Sequence[str] | None = None, sought: str | None = None
) -> list[Nearby]:
    """All that say they are here, by name; those heard until then once the mesh ``sought`` is among
    them. Raises Unheard.
    """
    async with speaking(spoken(on)) as speaker:
        names: set[str] = set()
        is_found = asyncio.Event()

        def heard(
            zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
        ) -> None:
            if state_change is ServiceStateChange.Removed:
                names.discard(name)
            else:
                names.add(name)
            if sought is not None and name.startswith(sought):
                is_found.set()

        browser = AsyncServiceBrowser(speaker.zeroconf, SERVICE, handlers=[heard])
        with suppress(TimeoutError):
            await asyncio.wait_for(is_found.wait(), within_s)
        await browser.async_cancel()
        found = await asyncio.gather(*(_details(speaker, name) for name in sorted(names)))
    return [nearby for nearby in found if nearby]


@asynccontextmanager
async def speaking(on: list[str]) -> AsyncIterator[AsyncZeroconf]:
    if not on:
        raise Unheard("this machine is on no network")
    try:
        async with AsyncZeroconf(interfaces=on) as speaker:
            yield speaker
    except (OSError, zeroconf.Error) as error:
        raise Unheard(f"no multicast DNS here: {error or type(error).__name__}") from error


async def _details(speaker: AsyncZeroconf, name: str) -> Nearby | None:
    service = AsyncServiceInfo(SERVICE, name)
    if not await service.async_request(speaker.zeroconf, DETAILS_S * 1000):
        return None
    hosts = (f"[{host}]" if ":" in host else host for host in service.parsed_addresses())
    told = service.decoded_properties
    return Nearby(
        mesh=told.get("mesh") or name.removesuffix(f".{SERVICE}"),
        addresses=tuple(f"{host}:{service.port}" for host in hosts),
        version=told.get("version") or "",
    )


def spoken(on: Sequence[str] | None) -> list[str]:
    """IPv4 alone: a home network has it, and every address is told from where it is reached."""
    chosen = interfaces.addresses() if on is None else on
    return [address for address in chosen if ":" not in address]
