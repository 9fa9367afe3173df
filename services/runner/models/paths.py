"""Paths that others name, a hub or a node or a client: which may become paths of ours."""

import re

LONGEST_NAME = 200
"""Bytes: a file system takes 255, and drafts need an ending."""
DEEPEST = 16
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)


def is_name(name: str) -> bool:
    """Whether a file or folder may be called that: it leads nowhere else, and is not hidden."""
    if name.startswith(".") or not name.isprintable() or any(sign in name for sign in "/\\:"):
        return False
    return 0 < len(name.encode(errors="replace")) <= LONGEST_NAME


def is_inside(path: str) -> bool:
    """Whether a path, with ``/``, stays in the folder that it is relative to."""
    names = path.split("/")
    return len(names) <= DEEPEST and all(map(is_name, names))


def is_revision(revision: str) -> bool:
    """Whether a branch, tag or commit may be called that, and a file of that path."""
    return len(revision) <= LONGEST_NAME and _REVISION.fullmatch(revision) is not None


def is_hash(name: str) -> bool:
    """A SHA-1 or a SHA-256, as hubs name commits and contents."""
    return _HASH.fullmatch(name) is not None
