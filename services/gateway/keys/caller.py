"""Who asks: an API key the operator knows, one nobody knows, or none; and what it may take."""

import hashlib
from collections.abc import Mapping

from msgspec import Struct

from proto.config import Config
from proto.dialects.asked import invalid
from proto.effective import key_config, privacy_of, value
from proto.ids import KeyId
from proto.inference import Priority, Privacy

ANONYMOUS = KeyId("anonymous")
"""Everybody who shows no key."""
MARK = 12
"""Hex digits of an unknown key's hash that it is called by."""
PRIORITY = b"x-odyssai-priority"


class Claim(Struct, frozen=True, kw_only=True):
    """Whose share of an engine a request takes, and how urgently."""

    key: KeyId
    weight: float = 1.0
    priority: Priority = "interactive"
    privacy: Privacy = Privacy()


class Caller(Struct, frozen=True, kw_only=True):
    """One API key, and what the operator decided for it."""

    key: KeyId
    """The operator's name for it, or a mark of its hash; never the key itself."""
    weight: float = 1.0
    privacy: Privacy = Privacy()
    best: Priority = "interactive"
    """The best priority that its requests may have."""
    requests_per_minute: int | None = None
    """None: not limited."""
    tokens_per_minute: int | None = None


def caller_of(headers: Mapping[bytes, bytes], config: Config) -> Caller:
    """By the key that a request shows. Nobody is turned away here for showing another, or none."""
    shown = shown_key(headers)
    sha256 = hashlib.sha256(shown).hexdigest() if shown else None
    name, decided = key_config(config, sha256)
    unknown = f"key-{sha256[:MARK]}" if sha256 else ANONYMOUS
    known_as = name or unknown
    return Caller(
        key=KeyId(known_as),
        privacy=privacy_of(config, value(decided.owner, known_as)),
        weight=value(decided.weight, 1.0),
        best=value(decided.priority, "interactive"),
        requests_per_minute=value(decided.requests_per_minute, None),
        tokens_per_minute=value(decided.tokens_per_minute, None),
    )


def shown_key(headers: Mapping[bytes, bytes]) -> bytes:
    """As OpenAI's or as Anthropic's clients show it; empty: there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = token.strip() if scheme.lower() == b"bearer" else b""
    return bearer or headers.get(b"x-api-key", b"").strip()


def claim_of(caller: Caller, headers: Mapping[bytes, bytes], asked: Priority) -> Claim:
    """As urgent as the header says, or else the body, and no more so than the key may be.

    Raises MeshError.
    """
    said = headers.get(PRIORITY, asked.encode()).decode("latin-1").strip().lower()
    if said not in ("interactive", "batch"):
        raise invalid(
            f"X-Odyssai-Priority is {said!r}; say interactive or batch.", "X-Odyssai-Priority"
        )
    priority: Priority = "batch" if "batch" in (said, caller.best) else "interactive"
    return Claim(key=caller.key, weight=caller.weight, priority=priority, privacy=caller.privacy)
