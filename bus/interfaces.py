"""What this machine is called on the networks that it is part of."""

import ipaddress
import socket

import psutil


def addresses() -> tuple[str, ...]:
    """Of all interfaces that are up, loopback left out; what a home network uses comes first."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        ipaddress.ip_address(entry.address.partition("%")[0])
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if name in up and entry.family in (socket.AF_INET, socket.AF_INET6)
    ]
    usable = (it for it in found if not it.is_loopback and not it.is_link_local)
    return tuple(str(it) for it in sorted(usable, key=lambda it: (it.version, not it.is_private)))


def local_name() -> str:
    """The name under which its neighbours find it by multicast DNS, or its full one."""
    name = socket.gethostname()
    return name if "." in name else f"{name}.local"
