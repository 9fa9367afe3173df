"""Which pages in browsers may read our answers."""

import re

from msgspec import Struct

from services.gateway.http.exchange import Headers

RATE_LIMITS = [
    name.format(kind).encode()
    for kind in ("requests", "tokens")
    for name in (
        "x-ratelimit-limit-{}", "x-ratelimit-remaining-{}", "x-ratelimit-reset-{}",
        "anthropic-ratelimit-{}-limit", "anthropic-ratelimit-{}-remaining",
        "anthropic-ratelimit-{}-reset",
    )
]  # fmt: skip
EXPOSED = b", ".join(
    [
        b"x-request-id", b"request-id", b"x-client-request-id", b"x-odyssai-engine",
        b"x-odyssai-ignored", b"x-odyssai-route", b"x-odyssai-queue-place", b"x-odyssai-cost-usd",
        b"openai-processing-ms",
        b"retry-after",
        *RATE_LIMITS,
    ]
)  # fmt: skip
LASTS_S = b"86400"
_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


class Cors(Struct, frozen=True):
    origins: frozenset[str]
    """Such as ``https://chat.example``; with ``*`` among them, all."""

    def headers(self, origin: str | None) -> Headers:
        """What every answer says to a browser."""
        exposed = (b"access-control-expose-headers", EXPOSED)
        if "*" in self.origins:
            return [(b"access-control-allow-origin", b"*"), exposed]
        if origin is None or origin not in self.origins:
            return [(b"vary", b"origin")]
        allowed = (b"access-control-allow-origin", origin.encode())
        return [allowed, (b"vary", b"origin"), exposed]

    def preflight(self, methods: bytes, wanted: str | None) -> Headers:
        """What a browser may send: whatever headers it asks about."""
        names = wanted if wanted and _NAMES.fullmatch(wanted) else "*, authorization"
        return [
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", names.encode()),
            (b"access-control-max-age", LASTS_S),
            (b"vary", b"access-control-request-headers"),
        ]
