"""Which addresses a client's URL may lead this machine to."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """True for what anybody on the Internet could ask as well; also says no to what is no address.

    An IPv4 address in an IPv6 one counts as what it is: the kernel, or a NAT64 gateway,
    would connect to it.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast
    if (embedded := _embedded(found)) is not None:
        return is_public(str(embedded))
    return found.is_global and found in _UNICAST and found not in _SIX_TO_FOUR


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
