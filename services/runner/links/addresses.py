"""Where other nodes may try to reach this one."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address

import psutil

from bus.address import address_towards
from proto.link import MOST_ADDRESSES


def usual_address(named: str, bus_url: str) -> str:
    """What an operator named, else where it is reached on the way to the bus. Raises OSError."""
    if not named:
        return address_towards(bus_url)
    return str(socket.getaddrinfo(named, 0, type=socket.SOCK_STREAM)[0][4][0])


def addresses(usual: str) -> tuple[str, ...]:
    """The usual one, then those of all interfaces that are up.

    Of a machine whose way to the bus does not leave it: that one alone.
    """
    if ip_address(usual).is_loopback:
        return (usual,)
    return tuple(dict.fromkeys([usual, *_of_interfaces()]))[:MOST_ADDRESSES]


def is_address(told: str) -> bool:
    """What another node says of itself is no name that would have to be looked up."""
    try:
        ip_address(told)
    except ValueError:
        return False
    return True


def _of_interfaces() -> Iterator[str]:
    """IPv4: an address of version 6 that is worth trying is the usual one."""
    states = psutil.net_if_stats()
    for interface, known in sorted(psutil.net_if_addrs().items()):
        if interface not in states or not states[interface].isup:
            continue
        for each in known:
            if each.family == socket.AF_INET and not IPv4Address(each.address).is_loopback:
                yield each.address
