"""What stays on this machine: addresses, and names that stand for nothing else."""

from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Says no to what is no address."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(known, "ipv4_mapped", None)
    return known.is_loopback or bool(mapped and mapped.is_loopback)


def is_loopback_name(name: str) -> bool:
    """A name or an address, in lower case, without a port."""
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)
