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
jetstream {{ store_dir: {store}, max_mem: 128MB, max_file: 2GB }}
{tls}system_account: SYS
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
    members: Members
    """Nobody else gets in: there is no password, and no user without a key."""
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
            sys=_lines(self._keepers()),
            users=_lines(self._users()),
        )

    def _tls(self) -> str:
        if self.tls is None:
            return ""
        return _TLS.format(
            certificate=_quoted(str(self.tls.certificate)), key=_quoted(str(self.tls.key))
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
