"""Which upstreams the environment names, and what an upstream is."""

import os
import re
from collections.abc import Mapping

from msgspec import Struct

from proto.config import ProviderConfig, ProviderKind
from proto.price import Price
from services.cloud.calling.patience import USUAL, Patience
from services.host import SettingError

VENDORS: dict[str, tuple[str, ProviderKind]] = {
    "OPENAI_API_KEY": ("oa", "openai"),
    "ANTHROPIC_API_KEY": ("an", "anthropic"),
    "OPENROUTER_API_KEY": ("or", "openrouter"),
}
"""A vendor's own variable enrols it: variable to name and kind."""
URLS: dict[ProviderKind, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}
REQUESTS = 256
"""An upstream is sent at once, where its provider says nothing else."""


class Upstream(Struct, frozen=True, kw_only=True):
    """A server whose models are published as ``name:id``. Holds keys: never to be logged."""

    name: str
    url: str
    kind: ProviderKind = "openai-compatible"
    keys: tuple[str, ...] = ()
    """Each opens it; the first is used as long as it does."""
    models: tuple[str, ...] | None = None
    """Patterns of the ids that may be used; None: those of its catalog."""
    hides: tuple[str, ...] = ()
    """Patterns of those that may not."""
    requests: int = REQUESTS
    prices: dict[str, Price] = {}
    """By ids or patterns."""
    locked: str = ""
    """Why a key that the mesh keeps for it cannot be used."""
    patience: Patience = USUAL

    def __repr__(self) -> str:
        return f"Upstream({self.name} at {self.url}, {len(self.keys)} keys)"


def providers(environment: Mapping[str, str] = os.environ) -> dict[str, ProviderConfig]:
    """From ODYSSAI_UPSTREAMS (``name=url,…``) and the vendors' variables. Raises SettingError."""
    parts = environment.get("ODYSSAI_UPSTREAMS", "").split(",")
    declared = dict(_declared(part.strip(), environment) for part in parts if part.strip())
    for variable, (name, kind) in VENDORS.items():
        if environment.get(variable):
            declared.setdefault(name, ProviderConfig(kind=kind, keys_from=[variable]))
    return declared


def _declared(part: str, environment: Mapping[str, str]) -> tuple[str, ProviderConfig]:
    name, _, url = part.partition("=")
    if not re.fullmatch(r"[a-z0-9-]{1,32}", name) or not re.match(r"https?://[^ ]", url):
        raise SettingError(
            f"ODYSSAI_UPSTREAMS: {part!r} is not name=http://host:port/v1 "
            "(the name may hold a-z, 0-9 and '-')"
        )
    variable = f"ODYSSAI_UPSTREAM_{name.upper().replace('-', '_')}_KEY"
    keys_from = [variable] if environment.get(variable) else []
    return name, ProviderConfig(url=url.rstrip("/"), keys_from=keys_from)
