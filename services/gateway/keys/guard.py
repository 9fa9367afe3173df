"""Who may what at this gateway: the decision, by what a request shows. It reads nothing itself."""

import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from proto.config import KeyConfig, Scope
from proto.effective import value
from proto.errors import Code, MeshError
from proto.ids import KeyId
from proto.keys import is_expired, scopes_of, scopes_of_others
from services.gateway.http.client import Client, network_of
from services.gateway.keys.attempts import Attempts
from services.gateway.keys.caller import Caller, known_caller, stranger
from services.gateway.keys.ring import KeyRing

ADMIN_TOKEN = KeyId("admin-token")
"""What whoever shows ODYSSAI_ADMIN_TOKEN is called."""
LOCAL = KeyId("local")
"""Whoever is on the gateway's machine, where nobody was given a key."""
Access = Literal["local", "keys", "open"]
"""Everybody who reaches loopback, holders of keys, or strangers as well: the operator says so."""


class Asked(Struct, frozen=True):
    """What a request is about to do."""

    scope: Scope
    is_administration: bool
    """No web page of another origin may, and without any key whoever is on this machine."""


class Guard:
    def __init__(
        self,
        ring: KeyRing,
        attempts: Attempts,
        admin_token: str,
        is_ready: Callable[[], bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``is_ready`` tells whether it is known which keys there are."""
        self.ring = ring
        self.attempts = attempts
        self.is_local = False
        """The gateway is reached from its own machine only."""
        self._is_ready = is_ready
        self._admin_token = admin_token
        self._now = now

    @property
    def is_ready(self) -> bool:
        return self._is_ready()

    @property
    def access(self) -> Access:
        if scopes_of_others(self.ring.config):
            return "open"
        return "local" if self.is_local and not self.ring.has_keys else "keys"

    @property
    def is_guarded(self) -> bool:
        """Nobody comes in of whom the operator does not know."""
        return self.is_local or self.ring.has_keys or bool(self._admin_token)

    def admit(self, client: Client, shown: bytes, asked: Asked) -> Caller:
        """Raises MeshError, which is counted."""
        try:
            return self.judge(client, shown, asked)
        except MeshError as error:
            is_wrong = bool(shown) and error.code in (Code.UNAUTHORIZED, Code.RATE_LIMITED)
            self.attempts.note(client.peer, is_wrong_key=is_wrong, is_admin=asked.is_administration)
            raise

    def judge(self, client: Client, shown: bytes, asked: Asked) -> Caller:
        """As ``admit``, but that nothing is counted. Raises MeshError."""
        if asked.is_administration and client.is_foreign_page:
            raise _forbidden("A web page of another origin may not administer the mesh.")
        caller = self._holder(client, shown)
        if caller is not None:
            return _expect_scope(caller, asked.scope)
        if not self.is_ready:
            raise MeshError(
                Code.BUS_UNAVAILABLE,
                "The gateway does not know yet which keys there are: the bus cannot be reached. "
                "Try again.",
                retry_after_s=1.0,
            )
        return self._stranger(client, shown, asked)

    def _holder(self, client: Client, shown: bytes) -> Caller | None:
        """None for whoever shows no key that is known. Raises MeshError for one that expired."""
        token = self._admin_token.encode()
        if token and hmac.compare_digest(shown, token):
            return Caller(
                key=ADMIN_TOKEN,
                scopes=scopes_of(KeyConfig(scopes=["admin"])),
                local_only=value(self.ring.config.local_only, False),
            )
        known = self.ring.find(shown) if shown and not self._is_guess(client, shown) else None
        if known is None:
            return None
        if is_expired(known.settings, self._now()):
            raise expired(known.key, known.settings)
        return known_caller(known.key, known.settings, self.ring.config)

    def _is_guess(self, client: Client, shown: bytes) -> bool:
        return self.ring.is_chosen(shown) and self.attempts.wait_s(client.peer) > 0

    def _stranger(self, client: Client, shown: bytes, asked: Asked) -> Caller:
        caller = stranger(shown, network_of(client.peer), self.ring.config)
        if asked.is_administration and not self.ring.has_keys and not self._admin_token:
            _expect_local(client)
            return Caller(key=LOCAL, scopes=("admin", "models", "telemetry"))
        if asked.scope in scopes_of_others(self.ring.config):
            return caller
        if self.access == "local" and not asked.is_administration:
            return caller
        raise self._refusal(client, shown, asked)

    def _refusal(self, client: Client, shown: bytes, asked: Asked) -> MeshError:
        wait_s = self.attempts.wait_s(client.peer) if shown else 0.0
        if wait_s:
            return MeshError(
                Code.RATE_LIMITED,
                "Too many wrong API keys came from your address. Try again later, or use a key "
                "that `odyssai key create` made.",
                retry_after_s=wait_s,
            )
        if shown:
            return MeshError(
                Code.UNAUTHORIZED,
                "Incorrect API key: the mesh does not know it, or it was revoked. Ask its operator "
                "for one (`odyssai key create NAME`).",
            )
        return MeshError(
            Code.UNAUTHORIZED,
            f"This takes an API key with the scope {asked.scope}; send it as "
            "`Authorization: Bearer KEY` or as `x-api-key: KEY`.",
        )


def _expect_scope(caller: Caller, scope: Scope) -> Caller:
    if scope in caller.scopes:
        return caller
    raise _forbidden(
        f"The key {caller.key} may do {', '.join(caller.scopes) or 'nothing'}, and this takes "
        f"{scope}. Use another key, or have one made with `--scope {scope}`."
    )


def _expect_local(client: Client) -> None:
    make = "`odyssai key create NAME --scope admin`"
    if not client.is_here:
        raise _forbidden(
            "Without a key the mesh is administered from the gateway's own machine only. Make one "
            f"there: {make}."
        )
    if not client.calls_us_local:
        raise _forbidden(
            f"The mesh is not administered under the name {client.host!r} without a key; use "
            f"localhost or 127.0.0.1, or make a key: {make}."
        )


def expired(key: KeyId, settings: KeyConfig) -> MeshError:
    expires: datetime | None = value(settings.expires, None)
    at = expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if expires else ""
    return MeshError(
        Code.UNAUTHORIZED,
        f"The API key {key} expired at {at}. Ask the mesh's operator for another.",
    )


def revoked(key: KeyId) -> MeshError:
    return MeshError(Code.UNAUTHORIZED, f"The API key {key} was revoked while this was answered.")


def _forbidden(why: str) -> MeshError:
    return MeshError(Code.FORBIDDEN, why)
