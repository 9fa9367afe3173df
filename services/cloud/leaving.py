"""Whether what an upstream is asked leaves the local network."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from proto.config import ProviderKind

VENDORS: frozenset[ProviderKind] = frozenset(("openai", "anthropic", "openrouter"))
"""Wherever they are reached, such as through a relay nearby: what they are told is away."""
NEAR = (".local", ".localhost")
"""Names that nobody but this network gives."""


def leaves(kind: ProviderKind, url: str) -> bool:
    """Anything that is not plainly near counts as away: a name may lead anywhere tomorrow."""
    return kind in VENDORS or not _is_near(urlsplit(url).hostname or "")


def _is_near(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost" or host.rstrip(".").endswith(NEAR)
    address = getattr(address, "ipv4_mapped", None) or address
    return (address.is_private and not address.is_unspecified) or address.is_link_local
