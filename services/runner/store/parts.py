"""Which files are part of a model: those that decide what it says. Nothing else is moved."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from services.runner.models.paths import is_inside

_TEXTS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.jsonl")
_OTHER_FORMS = ("onnx", "openvino", "original", "coreml", "gguf", "metal")
"""Folders with the same model for other programs."""
_PAPERS = ("license*", "notice*", "readme*", "usage_policy*")


class Part(NamedTuple):
    path: str
    """Within the model's folder, with ``/``."""
    file: Path


def is_part(path: str, *, trusts_code: bool) -> bool:
    """``path`` is relative, with ``/``. Python counts only where it may be run."""
    if not is_inside(path):
        return False
    *folders, name = path.split("/")
    if any(folder in _OTHER_FORMS for folder in folders):
        return False
    if any(fnmatch(name.lower(), paper) for paper in _PAPERS):
        return False
    if name.endswith(".safetensors"):
        return not name.startswith("consolidated")  # The same weights, under other names.
    if name.endswith(".py"):
        return trusts_code
    return any(fnmatch(name, text) for text in _TEXTS)


def parts_of(folder: Path, *, trusts_code: bool) -> list[Part]:
    """In the order of their paths."""
    paths = sorted(_paths(folder, ""))
    parts = [Part(p, folder / p) for p in paths if is_part(p, trusts_code=trusts_code)]
    places = (folder.resolve(), (folder.resolve().parents[1] / "blobs").resolve())
    return [part for part in parts if _is_own(part, places)]


def _is_own(part: Part, places: tuple[Path, ...]) -> bool:
    """Weights may be links to wherever there is room; anything else must not show what lies
    elsewhere. In the hub's cache all files are links to ``blobs``.
    """
    if part.path.endswith(".safetensors") or not part.file.is_symlink():
        return True
    return any(part.file.resolve().is_relative_to(place) for place in places)


def _paths(folder: Path, above: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _paths(Path(entry.path), f"{above}{entry.name}/")
        elif entry.is_file():
            yield f"{above}{entry.name}"
