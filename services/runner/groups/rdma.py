"""RDMA devices of this machine, as the system's own programs list them."""

import re
from collections.abc import Awaitable, Callable, Iterator

from proto.examination import RdmaPort

Run = Callable[..., Awaitable[str]]
"""What a program prints; empty when it fails or is not there."""

_DEVICE = re.compile(r"^hca_id:\s*(\S+)", re.MULTILINE)
_STATE = re.compile(r"state:\s*PORT_(\w+)")


async def ports(run: Run) -> tuple[RdmaPort, ...]:
    """Empty where there is no RDMA, or where it was not enabled in recovery."""
    return tuple(listed(await run("ibv_devinfo")))


def listed(said: str) -> Iterator[RdmaPort]:
    """Of what ``ibv_devinfo`` prints: a paragraph a device, with the state of its port."""
    _, *parts = _DEVICE.split(said)
    for device, about in zip(parts[::2], parts[1::2], strict=True):
        states = _STATE.findall(about)
        yield RdmaPort(device=device, state="active" if "ACTIVE" in states else "down")
