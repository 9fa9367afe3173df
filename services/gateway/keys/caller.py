"""Who asks: an API key the operator knows, one nobody knows, or none; and what it may take."""

from collections.abc import Mapping

from msgspec import Struct

from proto.config import Config, KeyConfig, Scope
from proto.dialects.asked import invalid
from proto.effective import privacy_of, value
from proto.ids import KeyId
from proto.inference import Priority, Privacy
from proto.keys import OTHERS, account_of, has_budget, hash_of, scopes_of, scopes_of_others

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
    scopes: tuple[Scope, ...] = ()
    models: tuple[str, ...] | None = None
    """Patterns of the models it may use; None: every one."""
    weight: float = 1.0
    owner: str = ""
    """Who holds it; empty where no key is known, so that all who ask are one."""
    privacy: Privacy = Privacy()
    best: Priority = "interactive"
    """The best priority that its requests may have."""
    requests_per_minute: int | None = None
    """None: not limited."""
    tokens_per_minute: int | None = None
    account: str = ""
    """Where the tokens that it takes are written down; empty: it has no budget."""
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    tokens_in_all: int | None = None


def known_caller(key: KeyId, settings: KeyConfig, config: Config) -> Caller:
    return _caller(key, settings, config, scopes_of(settings), account_of(key))


def stranger(shown: bytes, config: Config) -> Caller:
    """Whoever shows a key that nobody knows, or none; all of them spend together."""
    unknown = KeyId(f"key-{hash_of(shown)[:MARK]}") if shown else ANONYMOUS
    settings = config.others or KeyConfig()
    return _caller(unknown, settings, config, scopes_of_others(config), OTHERS)


def _caller(
    key: KeyId, settings: KeyConfig, config: Config, scopes: tuple[Scope, ...], account: str
) -> Caller:
    models = value(settings.models, None)
    owner = value(settings.owner, key)
    return Caller(
        key=key,
        scopes=scopes,
        models=None if models is None else tuple(models),
        owner=owner if config.keys else "",
        privacy=privacy_of(config, owner),
        weight=value(settings.weight, 1.0),
        best=value(settings.priority, "interactive"),
        requests_per_minute=value(settings.requests_per_minute, None),
        tokens_per_minute=value(settings.tokens_per_minute, None),
        account=account if has_budget(settings) else "",
        tokens_per_day=value(settings.tokens_per_day, None),
        tokens_per_month=value(settings.tokens_per_month, None),
        tokens_in_all=value(settings.tokens_in_all, None),
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
