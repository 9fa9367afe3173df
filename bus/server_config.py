"""The settings of a home's bus server, as text."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bus import permissions
from bus.members import Members

User = Literal["mesh", "ops", "sys"]
"""``mesh`` may all, ``ops`` hears telemetry only, ``sys`` hears the server's own events."""

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
jetstream {{ store_dir: {store}, max_mem: 128MB, max_file: 2GB }}
{tls}system_account: SYS
accounts {{
  SYS {{ users: [{{ user: sys, password: {sys} }}] }}
  MESH {{
    jetstream: enabled
    users: [
{users}
    ]
  }}
}}
"""
_TLS = """\
# Ours begin with the handshake; others are greeted in plain after a moment, and then shake hands.
tls {{ cert_file: {certificate}, key_file: {key}, handshake_first: auto }}
"""


@dataclass(frozen=True)
class Tls:
    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    host: str
    port: int
    passwords: Mapping[User, str]
    """Of the users mesh, ops and sys."""
    members: Members
    store: Path
    tls: Tls | None
    """None: nothing is encrypted."""

    def text(self) -> str:
        return _CONFIG.format(
            name=self.name,
            host=_quoted(self.host),
            port=self.port,
            store=_quoted(str(self.store)),
            tls=self._tls(),
            sys=_quoted(self.passwords["sys"]),
            users="\n".join(f"      {_quoted(user)}" for user in self._users()),
        )

    def _tls(self) -> str:
        if self.tls is None:
            return ""
        return _TLS.format(
            certificate=_quoted(str(self.tls.certificate)), key=_quoted(str(self.tls.key))
        )

    def _users(self) -> Iterable[dict[str, Any]]:
        yield {"user": "mesh", "password": self.passwords["mesh"]}
        yield {"user": "ops", "password": self.passwords["ops"], "permissions": permissions.OPS}
        for node, key in self.members.nodes.items():
            yield {"nkey": key, "permissions": permissions.of_node(node, key)}
        for invitation in self.members.invitations:
            key = invitation.key
            yield {"nkey": key, "permissions": permissions.of_invitation(key)}


def _quoted(value: Any) -> str:
    """As JSON. The server reads no escapes of letters."""
    return json.dumps(value, ensure_ascii=False)
