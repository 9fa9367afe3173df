"""Where a bus is and how one gets in, in one line: a NATS URL, with options for what it lacks.

``nats://host:port?seed=FILE&as=ROLE.NAME&ca=FILE&name=NAME``; several servers with commas before
the ``?``.
Options name files, so that the line can be shown and handed on: a seed never stands in it.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from bus.errors import NotConnected
from proto.credentials import Holder


@dataclass(frozen=True)
class Address:
    servers: tuple[str, ...]
    """NATS URLs, which may hold a user and a password."""
    seed: Path | None = None
    """File with the seed of the key that proves who connects."""
    ca: Path | None = None
    """File with the certificate that vouches for the server. Given, nothing is said in plain."""
    holder: Holder | None = None
    """As whom the server knows the key. None: on a bus whose server is not ours."""
    name: str | None = None
    """What the server's certificate must be made out to; None: the host of its URL."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises NotConnected when it makes no sense."""
        servers, _, options = text.partition("?")
        given = dict(parse_qsl(options))
        unknown = given.keys() - {"seed", "as", "ca", "name"}
        if unknown:
            raise NotConnected(
                f"the bus address has an option {min(unknown)!r}; there are seed, as, ca and name"
            )
        try:
            holder = Holder.of(given["as"]) if "as" in given else None
        except ValueError as error:
            raise NotConnected(f"the bus address says {error}") from error
        return cls(
            tuple(servers.split(",")),
            Path(given["seed"]) if "seed" in given else None,
            Path(given["ca"]) if "ca" in given else None,
            holder,
            given.get("name"),
        )

    def __str__(self) -> str:
        given = {"seed": self.seed, "as": self.holder, "ca": self.ca, "name": self.name}
        options = "&".join(f"{key}={quote(str(it))}" for key, it in given.items() if it)
        return ",".join(self.servers) + ("?" + options if options else "")

    def seed_text(self) -> str:
        """Empty where there is no seed, or none that can be read."""
        try:
            return self.seed.read_text().strip() if self.seed else ""
        except OSError:
            return ""

    @property
    def shown(self) -> str:
        """Hosts and ports, without what could let anybody in, for people."""
        return ",".join(server.rpartition("://")[2].rpartition("@")[2] for server in self.servers)

    def dialled(self, name: str) -> dict[str, Any]:
        """What nats-py is to be told to connect as ``name``. Raises NotConnected."""
        inbox = name.replace(":", ".")
        options: dict[str, Any] = {"servers": list(self.servers)}
        try:
            if self.seed is not None:
                self.seed.read_text()
                options["nkeys_seed"] = str(self.seed)
            if self.holder is not None:
                # By this prefix the server's permissions know the inboxes of a holder.
                inbox = f"{self.holder}.{inbox}"
            if self.ca is not None:
                options |= self._over_tls(self.ca)
        except (OSError, ValueError) as error:
            raise NotConnected(f"the key or certificate cannot be used: {error}") from error
        return options | {"inbox_prefix": f"_INBOX.{inbox}"}

    def _over_tls(self, ca: Path) -> dict[str, Any]:
        # The handshake first: otherwise a stranger in the server's place could ask for plain talk.
        options: dict[str, Any] = {
            "tls": ssl.create_default_context(cafile=ca),
            "tls_handshake_first": True,
        }
        return options | ({"tls_hostname": self.name} if self.name else {})


def bracketed(host: str) -> str:
    """As it stands before a port."""
    return f"[{host}]" if ":" in host else host


def address_towards(bus_url: str) -> str:
    """This machine's address on the way to the bus: where it is reached by who is reached there."""
    first = urlsplit(bus_url.split(",")[0])
    host, port = first.hostname or "127.0.0.1", first.port or 4222
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(found[0], socket.SOCK_DGRAM) as probe:
        probe.connect(found[4])  # Nothing is sent: the system only chooses a way.
        address: str = probe.getsockname()[0]
        return address
