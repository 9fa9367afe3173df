"""What can be set, from the environment, once."""

import re

from msgspec import Struct

from bus.provision import Limits
from services.gateway.http.cors import Cors
from services.gateway.http.crowd import Bounds
from services.gateway.http.hosts import told_hosts
from services.gateway.http.tls import Certificate
from services.gateway.images.limits import Limits as ImageLimits
from services.host import SettingError, number, setting, switch


class Settings(Struct, frozen=True, kw_only=True):
    host: str
    port: int
    """0: any free one."""
    body_limit_bytes: int
    prompt_limit_chars: int
    """Four bytes a character are what the bus carries in one message of 8 MB."""
    cors: Cors
    allowed_hosts: frozenset[str]
    """Names beside its own under which the gateway answers."""
    tls: Certificate | None
    """None: plain HTTP."""
    bounds: Bounds
    """Of connections."""
    load_wait_s: float
    """How long a request waits at most for its model to be loaded."""
    admin_token: str
    """Who shows it may administer the mesh; empty: who is on this machine may."""
    starts_again: bool
    """Another process of this gateway was here before, and the mesh is."""
    drain_s: float
    """How long open requests may go on when the process is asked to end; its supervisor kills
    after ten seconds."""
    stall_s: float
    """How long a client may take nothing of what waits for it, before its connection is cut."""
    keeps_volatile_lines: bool
    """Prompts hold also the lines of known clients that change with every request."""

    responses: Limits
    """Of what is stored for the Responses API."""
    kept_answers: Limits
    """Of what is kept for requests with an Idempotency-Key."""
    images: ImageLimits

    @classmethod
    def read(cls) -> "Settings":
        """From ODYSSAI_HOST, ODYSSAI_PORT and the limits' variables. Raises SettingError."""
        return cls(
            host=setting("ODYSSAI_HOST", "127.0.0.1"),
            port=int(number("ODYSSAI_PORT", 8000)),
            body_limit_bytes=int(number("ODYSSAI_BODY_LIMIT_MB", 32, 1) * 2**20),
            prompt_limit_chars=int(number("ODYSSAI_PROMPT_LIMIT_CHARS", 2_000_000, 1)),
            cors=Cors(_origins(setting("ODYSSAI_CORS_ORIGINS", "none"))),
            allowed_hosts=told_hosts(),
            tls=Certificate.told(),
            bounds=Bounds.read(),
            load_wait_s=number("ODYSSAI_LOAD_WAIT_S", 600.0, 0),
            admin_token=setting("ODYSSAI_ADMIN_TOKEN", ""),
            starts_again=switch("ODYSSAI_AGAIN"),
            drain_s=number("ODYSSAI_DRAIN_S", 7.0),
            stall_s=number("ODYSSAI_STALL_S", 300.0, 1),
            responses=stored_responses(),
            kept_answers=kept_answers(),
            keeps_volatile_lines=switch("ODYSSAI_KEEP_VOLATILE_LINES"),
            images=ImageLimits.read(),
        )


def stored_responses() -> Limits:
    """Of the bucket. Raises SettingError."""
    return Limits(
        ttl_s=number("ODYSSAI_RESPONSES_TTL_S", 30 * 86_400, 1),
        max_bytes=int(number("ODYSSAI_RESPONSES_MAX_MB", 1024, 1) * 2**20),
    )


def kept_answers() -> Limits:
    """Of the bucket. Raises SettingError."""
    return Limits(
        ttl_s=number("ODYSSAI_KEPT_ANSWERS_TTL_S", 86_400, 1),
        max_bytes=int(number("ODYSSAI_KEPT_ANSWERS_MAX_MB", 256, 1) * 2**20),
    )


def _origins(text: str) -> frozenset[str]:
    """Raises SettingError."""
    if text == "none":
        return frozenset()
    origins = frozenset(filter(None, (part.strip() for part in text.split(","))))
    for origin in origins - {"*", "null"}:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise SettingError(
                f"ODYSSAI_CORS_ORIGINS: {origin!r} is no origin; "
                "write https://host or https://host:port, * for all, or none"
            )
    return origins
