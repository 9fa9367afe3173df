"""Who asks: an API key the operator knows, one nobody knows, or none; and what it may take."""

from collections.abc import Mapping

from msgspec import Struct, UnsetType
from msgspec.structs import replace

from proto.config import Config, KeyConfig, Scope
from proto.dialects.asked import invalid
from proto.effective import privacy_of, value
from proto.generation import Privacy
from proto.ids import KeyId
from proto.keys import OTHERS, account_of, has_budget, hash_of, scopes_of, scopes_of_others
from proto.money import nano_usd
from proto.placement import Priority

ANONYMOUS = KeyId("anonymous")
"""Everybody who shows no key."""
MARK = 12
"""Hex digits of an unknown key's hash that it is called by."""
PRIORITY = b"x-odyssai-priority"
LOCAL_ONLY = b"x-odyssai-local-only"
NOT = (b"", b"0", b"false", b"no", b"off")
"""Anything else that the header says is a yes: who misspells it wants it."""
HOPS = b"x-odyssai-hops"
MOST_DIGITS = 4


class Claim(Struct, frozen=True, kw_only=True):
    """Whose share of an engine a request takes, and how urgently."""

    key: KeyId
    weight: float = 1.0
    priority: Priority = "interactive"
    privacy: Privacy = Privacy()
    local_only: bool = False
    """Nothing of it leaves the local network."""
    hops: int = 0
    """Other meshes that it came through."""


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
    local_only: bool = False
    """Nothing that it asks leaves the local network."""
    best: Priority = "interactive"
    """The best priority that its requests may have."""
    requests_per_minute: int | None = None
    """None: not limited."""
    tokens_per_minute: int | None = None
    account: str = ""
    """Where what it takes is written down; empty: it has no budget."""
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    tokens_in_all: int | None = None
    nano_usd_per_day: int | None = None
    nano_usd_per_month: int | None = None
    nano_usd_in_all: int | None = None


def known_caller(key: KeyId, settings: KeyConfig, config: Config) -> Caller:
    caller = _caller(key, settings, config, key)
    return replace(caller, scopes=scopes_of(settings), account=_account(settings, account_of(key)))


def stranger(shown: bytes, network: str, config: Config) -> Caller:
    """Whoever shows a key that nobody knows, or none; all of them spend together.

    Where strangers are limited they are told apart by where they are: made-up keys cost nothing.
    Prompts are kept apart by what was shown all the same.
    """
    settings = config.others or KeyConfig()
    key = shown_as = KeyId(f"key-{hash_of(shown)[:MARK]}") if shown else ANONYMOUS
    if _is_limited(settings):
        key = KeyId(f"from-{hash_of(network.encode())[:MARK]}")
    caller = _caller(key, settings, config, shown_as)
    scopes = scopes_of_others(config)
    return replace(caller, scopes=scopes, account=_account(settings, OTHERS))


def _account(settings: KeyConfig, account: str) -> str:
    return account if has_budget(settings) else ""


def _is_limited(settings: KeyConfig) -> bool:
    limits = (settings.requests_per_minute, settings.tokens_per_minute)
    return any(value(limit, None) is not None for limit in limits)


def _caller(key: KeyId, settings: KeyConfig, config: Config, shown_as: KeyId) -> Caller:
    models = value(settings.models, None)
    owner = value(settings.owner, shown_as)
    return Caller(
        key=key,
        models=None if models is None else tuple(models),
        owner=owner if config.keys else "",
        privacy=privacy_of(config, owner),
        weight=value(settings.weight, 1.0),
        local_only=value(config.local_only, False) or value(settings.local_only, False),
        best=value(settings.priority, "interactive"),
        requests_per_minute=value(settings.requests_per_minute, None),
        tokens_per_minute=value(settings.tokens_per_minute, None),
        tokens_per_day=value(settings.tokens_per_day, None),
        tokens_per_month=value(settings.tokens_per_month, None),
        tokens_in_all=value(settings.tokens_in_all, None),
        nano_usd_per_day=_nano_usd(settings.usd_per_day),
        nano_usd_per_month=_nano_usd(settings.usd_per_month),
        nano_usd_in_all=_nano_usd(settings.usd_in_all),
    )


def _nano_usd(setting: float | UnsetType | None) -> int | None:
    amount: float | None = value(setting, None)
    return None if amount is None else nano_usd(amount)


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
    return Claim(
        key=caller.key,
        weight=caller.weight,
        priority=priority,
        privacy=caller.privacy,
        local_only=is_local_only(caller, headers),
        hops=_hops(headers),
    )


def is_local_only(caller: Caller, headers: Mapping[bytes, bytes]) -> bool:
    """As the operator says, or the client for this request; it cannot take the other back."""
    said = headers.get(LOCAL_ONLY, b"").strip().lower()
    return caller.local_only or said not in NOT


def _hops(headers: Mapping[bytes, bytes]) -> int:
    """Of what is no number, as many as any: only meshes say it, and another one may be newer."""
    said = headers.get(HOPS, b"0")
    return int(said) if said.isdigit() and len(said) < MOST_DIGITS else 1
