"""Providers' keys as the mesh keeps them, sealed for cloud services, and what providers tell."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proto.config import ProviderConfig
from proto.message import Message
from proto.presence import ModelCard

PROVIDER_KEYS = "provider_keys"
"""The bucket of SealedKey, by provider and name: ``oa.main``."""
VAULTS = "vaults"
"""The bucket of Vault, by the credential of a cloud service."""
CATALOGS = "catalogs"
"""The bucket of KnownCatalog, by provider."""
MAIN = "main"
"""What a provider's key is called where nobody says."""

KeyName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,32}$")]


class Vault(Message, frozen=True, kw_only=True):
    """Whom keys are sealed for: written by a cloud service, which alone has the other half."""

    public: bytes
    """X25519."""
    kept: Literal["keychain", "file"]
    """Where it has the other half."""


class SealedKey(Message, frozen=True, kw_only=True):
    """A provider's key, which only cloud services can open."""

    sealed: bytes
    """AES-GCM, its nonce before it, bound to the provider and the key's name."""
    wraps: dict[str, bytes]
    """What opens it, for each vault by its fingerprint."""
    hint: str = ""
    """Its beginning and end, for people."""
    created_s: float = 0.0
    """Unix time."""
    by: str = ""


class KnownCatalog(Message, frozen=True, kw_only=True):
    """What a provider told last, so that whoever starts can list it at once."""

    url: str
    """Where it was told."""
    cards: tuple[ModelCard, ...]
    """By the provider's own ids, as it told them."""


class LookAtProviders(Message, frozen=True, kw_only=True):
    """Ask a cloud service what it stands for. Answered by ``ProvidersSeen``."""


class CheckProvider(Message, frozen=True, kw_only=True):
    """Ask a provider for its models now, with each of its keys. Answered by ``ProviderChecked``."""

    provider: str


class KeyCheck(Struct, frozen=True, kw_only=True):
    hint: str
    problem: str = ""
    """Empty: the catalog was told with it."""


class ProviderCheck(Struct, frozen=True, kw_only=True):
    """What came of asking a provider."""

    provider: str
    url: str
    told: int = 0
    """Models of its catalog."""
    served: int = 0
    """Of those, as the operator allows."""
    took_s: float = 0.0
    problem: str = ""
    """For people: what is wrong and what to do. Empty: nothing."""
    keys: tuple[KeyCheck, ...] = ()


class ProviderChecked(Message, frozen=True, kw_only=True, tag="provider_checked"):
    """The provider was asked, whatever it said."""

    check: ProviderCheck


class ProviderKeyView(Struct, frozen=True, kw_only=True):
    """A key as people see it."""

    name: str
    hint: str
    origin: Literal["kept", "environment"]
    created_s: float = 0.0
    by: str = ""


class ProviderView(Struct, frozen=True, kw_only=True):
    """A provider as people see it."""

    name: str
    settings: ProviderConfig
    url: str = ""
    state: str
    """``ready``, ``loading`` or ``draining`` as its engine says, ``left alone`` while it fails
    again and again, or ``not served``.
    """
    trouble: str = ""
    models: int = 0
    running: int = 0
    keys: tuple[ProviderKeyView, ...] = ()
    """In the order in which they are used."""


class ProvidersSeen(Message, frozen=True, kw_only=True, tag="providers_seen"):
    """All of them, by name."""

    providers: tuple[ProviderView, ...] = ()


def record_of(provider: str, name: str) -> str:
    return f"{provider}.{name}"


def hint_of(secret: str) -> str:
    """Enough to tell one's keys apart, and of no use to anybody else."""
    return f"{secret[:6]}…{secret[-4:]}" if len(secret) >= 24 else "…"
