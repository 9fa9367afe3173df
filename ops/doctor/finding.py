"""What one check came to."""

from typing import Literal

from msgspec import Struct

Level = Literal["OK", "WARN", "FAIL"]


class Finding(Struct, frozen=True, kw_only=True):
    level: Level
    subject: str
    """A node, two of them, or the mesh."""
    check: str
    said: str
    """One sentence; of what is not OK also what to do."""


def good(subject: str, check: str, said: str) -> Finding:
    return Finding(level="OK", subject=subject, check=check, said=said)


def doubtful(subject: str, check: str, said: str) -> Finding:
    return Finding(level="WARN", subject=subject, check=check, said=said)


def bad(subject: str, check: str, said: str) -> Finding:
    return Finding(level="FAIL", subject=subject, check=check, said=said)
