"""Who did what to the mesh: told once it is done, and kept for months."""

from msgspec import Struct

from proto.message import Message

AUDIT = "audit"
"""The stream of AuditEvent."""
KEPT_S = 90 * 86_400.0
MOST_BYTES = 64 << 20
VERSION = 1


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks for something."""

    name: str
    """A key's name, ``local`` for whoever is on a gateway's machine, ``user@machine`` for the
    odyssai command."""
    address: str = ""
    """Where it was asked from, over HTTP."""
    request: str = ""
    """The id of the HTTP request."""


NOBODY = Actor(name="")


class AuditEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """An act of administration, or an attempt at one. Never a secret, a prompt or an answer."""

    v: int = VERSION
    act: str
    """Such as ``key.create``, ``config.change``, ``order.load``, ``node.join``."""
    by: str
    address: str = ""
    request: str = ""
    target: str = ""
    """The key, setting, model, node or job that it was done to."""
    outcome: str = "ok"
    """``ok``, or the word of an error code."""
    detail: str = ""
    count: int = 1
    """How many alike this one stands for."""
    said_by: str = ""
    """The process that saw it done."""
    at_s: float
    """Unix time."""
