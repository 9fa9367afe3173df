"""Which upstreams there are: a name, a base URL, a key from the environment."""

import os
import re

from msgspec import Struct

from services.host import SettingError, setting

VENDORS = {
    "OPENAI_API_KEY": ("oa", "https://api.openai.com/v1"),
    "OPENROUTER_API_KEY": ("or", "https://openrouter.ai/api/v1"),
}
"""A vendor's own variable enrols it: variable to name and base URL."""


class Upstream(Struct, frozen=True, kw_only=True):
    """A server that speaks OpenAI's chat completions. Its models are published as ``name:id``."""

    name: str
    url: str
    key: str | None = None


def read() -> tuple[Upstream, ...]:
    """From ODYSSAI_UPSTREAMS (``name=url,…``) and the vendors' variables. Raises SettingError."""
    declared = [_declared(part) for part in setting("ODYSSAI_UPSTREAMS", "").split(",") if part]
    names = {upstream.name for upstream in declared}
    for variable, (name, url) in VENDORS.items():
        if os.environ.get(variable) and name not in names:
            declared.append(Upstream(name=name, url=url, key=os.environ[variable]))
    return tuple(declared)


def _declared(part: str) -> Upstream:
    name, _, url = part.strip().partition("=")
    if not re.fullmatch(r"[a-z0-9-]+", name) or not re.match(r"https?://", url):
        raise SettingError(
            f"ODYSSAI_UPSTREAMS: {part!r} is not name=http://host:port/v1 "
            "(the name may hold a-z, 0-9 and '-')"
        )
    key = os.environ.get(f"ODYSSAI_UPSTREAM_{name.upper().replace('-', '_')}_KEY")
    return Upstream(name=name, url=url.rstrip("/"), key=key)
