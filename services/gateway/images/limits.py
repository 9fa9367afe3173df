"""What a picture may cost, and where one may come from."""

from msgspec import Struct

from services.host import number, setting

MOST = 64
"""Pictures in one request."""
STORED_BYTES = 1 << 29
"""Of all requests that are open, each picture counted once."""


class TrustedHost(Struct, frozen=True):
    """A host that may be private and need not speak TLS."""

    name: str
    """In lower case; ``*.`` in front stands for every name below."""
    port: int | None = None
    """None: the scheme's own."""

    def covers(self, name: str, port: int) -> bool:
        if port not in ((80, 443) if self.port is None else (self.port,)):
            return False
        return name == self.name or (self.name[:2] == "*." and name.endswith(self.name[1:]))


class Limits(Struct, frozen=True, kw_only=True):
    image_bytes: int
    fetch_s: float
    """For a picture's whole way here, redirects included; 0: no URL is fetched."""
    trusted: tuple[TrustedHost, ...] = ()

    @classmethod
    def read(cls) -> "Limits":
        """From ODYSSAI_IMAGE_BYTES, _IMAGE_FETCH_S and _IMAGE_HOSTS. Raises SettingError."""
        hosts = setting("ODYSSAI_IMAGE_HOSTS", "").split(",")
        return cls(
            image_bytes=int(number("ODYSSAI_IMAGE_BYTES", 20 * 2**20, 1)),
            fetch_s=number("ODYSSAI_IMAGE_FETCH_S", 20),
            trusted=tuple(_trusted(host.strip().lower()) for host in hosts if host.strip()),
        )

    def trusts(self, name: str, port: int) -> bool:
        return any(host.covers(name.lower(), port) for host in self.trusted)


def _trusted(entry: str) -> TrustedHost:
    """``host``, ``host:port``, or an IPv6 address in brackets with or without one."""
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":"):
        return TrustedHost(name.strip("[]"), int(port))
    return TrustedHost(entry.strip("[]"))
