"""The root of every message."""

from msgspec import Struct


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something said on the bus.

    Messages only grow: a new field has a default, nothing is renamed, retyped
    or removed. An unknown field is ignored, so that a newer speaker is
    understood by an older listener.
    """
