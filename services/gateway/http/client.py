"""What a request shows of who sent it, before any key: where from, and by a page of whose."""

from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from msgspec import Struct

from services.gateway.http.exchange import Exchange
from services.gateway.http.loopback import is_loopback, is_loopback_name

RELAYED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
"""Said by proxies, whose own address is not that of who asks."""


class Client(Struct, frozen=True, kw_only=True):
    peer: str
    """The address at the other end of the socket; empty: not known."""
    host: str
    """As the client was told to call us; with a port or without."""
    origin: str | None = None
    """Of the web page that asks, if one does."""
    site: str | None = None
    """How that page and we are related, in the browser's words (``Sec-Fetch-Site``)."""
    is_relayed: bool = False

    @property
    def is_foreign_page(self) -> bool:
        """Its Origin gives a page of another origin away, or what the browser says of it."""
        if self.site in ("cross-site", "same-site"):
            return True
        return self.origin is not None and urlsplit(self.origin).netloc != self.host.lower()

    @property
    def is_here(self) -> bool:
        """On this machine, with no proxy in between."""
        return is_loopback(self.peer) and not self.is_relayed

    @property
    def calls_us_local(self) -> bool:
        """By a name that leads to this machine wherever it is said: no foreign page's does."""
        try:
            return is_loopback_name(urlsplit(f"//{self.host}").hostname or "")
        except ValueError:
            return False


def client_of(exchange: Exchange) -> Client:
    return Client(
        peer=exchange.peer,
        host=exchange.header(b"host") or "",
        origin=exchange.header(b"origin"),
        site=exchange.header(b"sec-fetch-site"),
        is_relayed=any(name in exchange.headers for name in RELAYED),
    )


def network_of(peer: str) -> str:
    """An IPv6 host has as many addresses as it likes, of one network."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
