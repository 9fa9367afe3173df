"""API keys: what one looks like, what the mesh keeps of it, and what it may do.

A key is ``odk_<prefix>_<secret>``. Only its hash is kept; the prefix finds the record, and tells
people which key is meant. A secret of 160 bits that nobody chose needs no slow hash.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from proto.config import Config, ConfigView, KeyConfig, Scope
from proto.effective import matches, value
from proto.message import Message
from proto.usage import Entry, Mark, day_of

KEYS = "keys"
"""The bucket of KeyRecord, by the key's name."""
SPENDING = "key_spending"
"""The bucket of Spending, by the key's name."""
OTHERS = "others"
"""The name under which those whose key is not known spend together."""

PREFIX_BYTES = 5
SECRET_BYTES = 20
DEFAULT_SCOPES: tuple[Scope, ...] = ("inference", "models")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RESERVED = re.compile(r"anonymous|others|local|admin-token|key-[0-9a-f]{12}")
"""What those are called who have no key of ours."""
_SHAPE = re.compile(rb"odk_([a-z2-7]{8})_[a-z2-7]{32}")


class KeyRecord(Message, frozen=True, kw_only=True):
    """A key that the mesh made: all that is kept of it."""

    prefix: str
    config: KeyConfig
    created_s: float
    """Unix time."""
    by: str = ""
    """Who had it made."""


class Spending(Message, frozen=True, kw_only=True, omit_defaults=False):
    """The tokens of prompts and answers that a key has taken, and what they cost."""

    day: str = ""
    """The latest in which it took any, such as ``2026-11-26``, in UTC."""
    in_day: int = 0
    in_month: int = 0
    """Of that day."""
    in_all: int = 0
    nano_usd_in_day: int = 0
    """1e-9 US dollars, as the others of that name."""
    nano_usd_in_month: int = 0
    nano_usd_in_all: int = 0
    counted: Mark = Mark()
    """The reports of usage up to this place are in it."""


class KeyView(Struct, frozen=True, kw_only=True):
    """A key as people see it."""

    name: str
    prefix: str = ""
    """As ``odk_abcd2345``; empty for a key of the operator's own making."""
    origin: str
    """``created``, or ``config`` where the configuration names it."""
    settings: KeyConfig
    """Without its hash."""
    created_s: float = 0.0
    by: str = ""
    is_expired: bool = False
    spent: Spending | None = None
    """Of a key with a budget."""


class FreshKey(NamedTuple):
    text: str
    """What its holder shows; told once."""
    prefix: str
    sha256: str


def fresh_key() -> FreshKey:
    prefix, secret = _letters(PREFIX_BYTES), _letters(SECRET_BYTES)
    text = f"odk_{prefix}_{secret}"
    return FreshKey(text, prefix, hash_of(text.encode()))


def _letters(count: int) -> str:
    return base64.b32encode(secrets.token_bytes(count)).decode().lower()


def hash_of(shown: bytes) -> str:
    return hashlib.sha256(shown).hexdigest()


def prefix_of(shown: bytes) -> str | None:
    """None for what does not look like a key that the mesh made."""
    found = _SHAPE.fullmatch(shown)
    return found[1].decode() if found else None


def is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)


def account_of(name: str) -> str:
    """Where a key's spending is kept: the configuration may give it a name that no record has."""
    return name if _NAME.fullmatch(name) else f"key-{hash_of(name.encode())[:24]}"


def scopes_of(key: KeyConfig) -> tuple[Scope, ...]:
    """What a key may do, whoever may administer being allowed to look as well."""
    told: tuple[Scope, ...] = tuple(value(key.scopes, DEFAULT_SCOPES))
    seen: tuple[Scope, ...] = ("models", "telemetry") if "admin" in told else ()
    return tuple(dict.fromkeys((*told, *seen)))


def scopes_of_others(config: Config) -> tuple[Scope, ...]:
    """What anybody may do where keys are asked for: nothing, unless the operator says so."""
    told: tuple[Scope, ...] = tuple(value((config.others or KeyConfig()).scopes, ()))
    return tuple(scope for scope in told if scope != "admin")


def is_expired(key: KeyConfig, now_s: float) -> bool:
    expires: datetime | None = value(key.expires, None)
    return expires is not None and expires.timestamp() <= now_s


def may_use(patterns: tuple[str, ...] | None, *names: str) -> bool:
    """Whether a model may be used that goes by these names. ``patterns`` None: every model."""
    return patterns is None or any(matches(each, name) for each in patterns for name in names)


def unguarded(host: str) -> str:
    """What to say of a gateway that strangers would reach, and nothing keeps them out."""
    return (
        f"the gateway is not started on {host}, where other machines reach it, since there is no "
        "API key yet. Make one with `odyssai key create NAME` first; or let strangers in on "
        "purpose: `others: {scopes: [inference, models]}` in odyssai.yaml"
    )


def has_budget(key: KeyConfig) -> bool:
    limits = (
        *(key.tokens_per_day, key.tokens_per_month, key.tokens_in_all),
        *(key.usd_per_day, key.usd_per_month, key.usd_in_all),
    )
    return any(value(limit, None) for limit in limits)


def current(spent: Spending, now_s: float) -> Spending:
    """As it stands now."""
    return on_day(spent, day_of(now_s))


def on_day(spent: Spending, day: str) -> Spending:
    """As it stands then: a day or a month that is over counts no more.

    A clock that is behind others' counts into the latest day that was known.
    """
    if day <= spent.day:
        return spent
    is_same_month = day[:7] == spent.day[:7]
    return replace(
        spent,
        day=day,
        in_day=0,
        in_month=spent.in_month if is_same_month else 0,
        nano_usd_in_day=0,
        nano_usd_in_month=spent.nano_usd_in_month if is_same_month else 0,
    )


def with_used(spent: Spending, day: str, tokens: int, nano_usd: int) -> Spending:
    known = on_day(spent, day)
    return replace(
        known,
        in_day=known.in_day + tokens,
        in_month=known.in_month + tokens,
        in_all=known.in_all + tokens,
        nano_usd_in_day=known.nano_usd_in_day + nano_usd,
        nano_usd_in_month=known.nano_usd_in_month + nano_usd,
        nano_usd_in_all=known.nano_usd_in_all + nano_usd,
    )


def spent_by(spent: Spending, stream: str, entries: Iterable[Entry], upto: int) -> Spending:
    """With what is not in it yet. It is then made up to ``upto``, or stays where it is."""
    if spent.counted.is_past(stream, upto):
        return spent
    known = spent
    for sequence, used in entries:
        if not spent.counted.is_past(stream, sequence):
            amounts = used.amounts
            known = with_used(known, used.day, amounts.tokens, amounts.cost_nano_usd)
    return replace(known, counted=Mark(stream, upto))


def without_hashes(view: ConfigView) -> ConfigView:
    return replace(
        view,
        effective=_bare(view.effective),
        file=view.file and replace(view.file, config=_bare(view.file.config)),
        admin=view.admin and replace(view.admin, config=_bare(view.admin.config)),
    )


def _bare(config: Config) -> Config:
    keys = {name: entry and without_hash(entry) for name, entry in (config.keys or {}).items()}
    return replace(config, keys=keys) if keys else config


def without_hash(key: KeyConfig) -> KeyConfig:
    return replace(key, sha256=KeyConfig().sha256)
