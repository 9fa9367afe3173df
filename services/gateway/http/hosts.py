"""The names under which a gateway answers: none that a stranger's DNS could make lead here.

A web page may give its own name this machine's address after it was loaded; a browser then takes
the gateway for the page's own server and lets it read everything. Only the Host header tells.
"""

import re
import socket
from ipaddress import ip_address

from msgspec import Struct

from proto.errors import Code, MeshError
from services.gateway.http.loopback import is_loopback, is_loopback_name
from services.host import SettingError, setting

HOST_MACHINE = frozenset(
    {
        "gateway.docker.internal",
        "host.containers.internal",
        "host.docker.internal",
        "host.lima.internal",
        "host.orb.internal",
    }
)
"""What containers call the machine on whose loopback address they end up."""
LOCAL_ZONES = (".home.arpa", ".internal", ".lan", ".local")
"""Below these nobody can register a name."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII)
_TOLD = re.compile(r"\*|(?:\*\.)?[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)


class Hosts(Struct, frozen=True, kw_only=True):
    told: frozenset[str] = frozenset()
    """By the operator: names, addresses, ``*.name`` for every name below, ``*`` for all."""
    own: frozenset[str] = frozenset()
    """The machine's own names."""
    is_local: bool = True
    """The gateway listens on loopback only."""

    @classmethod
    def of(cls, called: str, bound: str, told: frozenset[str]) -> "Hosts":
        """Of a gateway whose setting is ``called`` and whose socket is bound to ``bound``."""
        machine = socket.gethostname().lower().rstrip(".")
        own = {called.lower(), machine, f"{machine.partition('.')[0]}.local"}
        return cls(told=told, own=frozenset(own), is_local=is_loopback(bound))

    def check(self, header: str) -> None:
        """Raises MeshError for a Host header that names somebody else."""
        found = _HOST.fullmatch(header.lower())
        if found is None:
            raise MeshError(
                Code.INVALID_REQUEST, "The Host header names no host; send the gateway's own name."
            )
        name = found[1] or found[2].rstrip(".")
        if not self._covers(name):
            raise MeshError(
                Code.MISDIRECTED,
                f"This gateway does not answer under the name {name!r}, so that no web page can "
                f"pass for it. Use {self._instead()}, or have the operator add the name to "
                "ODYSSAI_ALLOWED_HOSTS.",
            )

    def _covers(self, name: str) -> bool:
        if is_loopback_name(name) or name in self.told or "*" in self.told:
            return True
        if any(one[:2] == "*." and name.endswith(one[1:]) for one in self.told):
            return True
        if self.is_local:
            return name == "0.0.0.0" or name in HOST_MACHINE
        return _is_address(name) or name in self.own or _is_private(name)

    def _instead(self) -> str:
        return "localhost or 127.0.0.1" if self.is_local else "the machine's address or its name"


def _is_address(name: str) -> bool:
    """No page was ever loaded from a name and then found at an address of another name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_private(name: str) -> bool:
    return "." not in name or name.endswith(LOCAL_ZONES)


def told_hosts() -> frozenset[str]:
    """From ODYSSAI_ALLOWED_HOSTS. Raises SettingError."""
    parts = (part.strip().lower() for part in setting("ODYSSAI_ALLOWED_HOSTS", "").split(","))
    hosts = frozenset(part.strip("[]").rstrip(".") for part in parts if part)
    for host in hosts:
        if not _TOLD.fullmatch(host):
            raise SettingError(
                f"ODYSSAI_ALLOWED_HOSTS: {host!r} is no host; write names or addresses without "
                "ports, *.name for all names below one, or * for any"
            )
    return hosts
