"""Thunderbolt ports of a Mac: which RDMA device each one is, and which Mac is at its other end.

``system_profiler`` knows ports by a number and their controllers by a UUID, ``networksetup`` which
network interface has the number; the RDMA device is called after that.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from proto.examination import ThunderboltPort
from services.runner.groups.rdma import Run

_HARDWARE_PORT = re.compile(r"^Hardware Port: Thunderbolt (\d+)\nDevice: (\S+)", re.MULTILINE)


async def thunderbolt_ports(run: Run) -> tuple[ThunderboltPort, ...]:
    """By number; empty where there are none, or the system does not say."""
    profile, interfaces = await asyncio.gather(
        run("system_profiler", "SPThunderboltDataType", "-json"),
        run("networksetup", "-listallhardwareports"),
    )
    return tuple(sorted(_ports(profile, interfaces), key=lambda port: int(port.port)))


def _ports(profile: str, interfaces: str) -> Iterator[ThunderboltPort]:
    devices = {port: f"rdma_{interface}" for port, interface in _HARDWARE_PORT.findall(interfaces)}
    for bus in _buses(profile):
        receptacle, domain = bus.get("receptacle_1_tag"), bus.get("domain_uuid_key")
        if not isinstance(receptacle, dict) or not isinstance(domain, str):
            continue
        number = str(receptacle.get("receptacle_id_key"))
        if not number.isdecimal():
            continue
        # What hangs behind a dock is further down, and no cable of ours.
        ends = [end for end in bus.get("_items") or () if isinstance(end, dict)]
        peer = next((str(end["domain_uuid_key"]) for end in ends if "domain_uuid_key" in end), "")
        attached = next((str(end.get("_name", "something")) for end in ends), "")
        yield ThunderboltPort(
            port=number,
            device=devices.get(number, ""),
            domain=domain.upper(),
            peer=peer.upper(),
            attached=attached,
            speed=str(receptacle.get("current_speed_key", "")),
        )


def _buses(profile: str) -> list[dict[str, Any]]:
    """A controller each; a Mac has one for each port."""
    try:
        said = msgspec.json.decode(profile)
    except msgspec.DecodeError:
        return []
    found = said.get("SPThunderboltDataType") if isinstance(said, dict) else None
    return [bus for bus in found if isinstance(bus, dict)] if isinstance(found, list) else []
