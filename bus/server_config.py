"""The settings of a home's bus server, as text."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus import permissions
from bus.members import Members
from proto.credentials import Holder

_CONFIG = """\
server_name: {name}
host: {host}
port: {port}
max_payload: 8MB
max_pending: 64MB
# One stuck reader is cut off; nobody else waits for it.
write_deadline: "2s"
no_fast_producer_stall: true
# A hung client is noticed within 6 seconds.
ping_interval: "2s"
ping_max: 2
# Every request has a subject of its own: the cache would only churn.
disable_sublist_cache: true
jetstream {{ {store}max_mem: 128MB, max_file: 2GB }}
{tls}{cluster}system_account: SYS
accounts {{
  SYS {{
    users: [
{sys}
    ]
  }}
  MESH {{
    jetstream: enabled
    users: [
{users}
    ]
  }}
}}
"""
_CLUSTER = """\
cluster {{
  name: {mesh}
  host: {host}
  port: {port}
  # Who may be a server hears everything: nobody without a certificate of the mesh's authority.
  tls {{ cert_file: {certificate}, key_file: {key}, ca_file: {ca}, verify: true, timeout: 5 }}
  routes: {routes}
  # Clients know all of them by their own address of the bus; a container's means nothing to them.
  no_advertise: true
}}
"""
_TLS = """\
# Ours begin with the handshake, over slow links, too; others are greeted in plain after a moment,
# and then shake hands.
tls {{ cert_file: {certificate}, key_file: {key}, handshake_first: "500ms" }}
"""


@dataclass(frozen=True)
class Tls:
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Routes:
    """How a server finds the others of its mesh."""

    mesh: str
    port: int
    """Where it listens for them."""
    addresses: tuple[str, ...]
    """``host:port`` of each, its own among them."""
    ca: Path
    """Vouches for all of them."""


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    host: str
    port: int
    members: Members
    """Nobody else gets in: there is no password, and no user without a key."""
    store: Path | None
    """None: who starts the server says where."""
    tls: Tls | None
    """None: nothing is encrypted."""
    routes: Routes | None = None
    """None: it is the only one."""

    def text(self) -> str:
        return _CONFIG.format(
            name=self.name,
            host=_quoted(self.host),
            port=self.port,
            store=f"store_dir: {_quoted(str(self.store))}, " if self.store else "",
            tls=self._tls(),
            cluster=self._cluster(),
            sys=_lines(self._keepers()),
            users=_lines(self._users()),
        )

    def _tls(self) -> str:
        if self.tls is None:
            return ""
        return _TLS.format(
            certificate=_quoted(str(self.tls.certificate)), key=_quoted(str(self.tls.key))
        )

    def _cluster(self) -> str:
        routes, tls = self.routes, self.tls
        if routes is None or tls is None:
            return ""
        return _CLUSTER.format(
            mesh=_quoted(routes.mesh),
            host=_quoted(self.host),
            port=routes.port,
            certificate=_quoted(str(tls.certificate)),
            key=_quoted(str(tls.key)),
            ca=_quoted(str(routes.ca)),
            routes=_quoted([f"nats://{address}" for address in routes.addresses]),
        )

    def _holders(self) -> Iterable[tuple[Holder, str]]:
        """With each key that is good now."""
        for text, member in self.members.holders.items():
            for key in member.keys:
                yield Holder.of(text), key
        for invitation in self.members.invitations:
            yield Holder("guest", invitation.key), invitation.key

    def _keepers(self) -> Iterable[dict[str, Any]]:
        """Whom the server obeys."""
        return ({"nkey": key} for holder, key in self._holders() if holder.role == "sys")

    def _users(self) -> Iterable[dict[str, Any]]:
        return (
            {"nkey": key, "permissions": permissions.of(holder)}
            for holder, key in self._holders()
            if holder.role != "sys"
        )


def _lines(users: Iterable[dict[str, Any]]) -> str:
    return "\n".join(f"      {_quoted(user)}" for user in users)


def _quoted(value: Any) -> str:
    """As JSON. The server reads no escapes of letters."""
    return json.dumps(value, ensure_ascii=False)
