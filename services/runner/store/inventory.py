"""What is on a node's disk: where models may be, and what each of them is."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from proto.ids import ModelId
from proto.presence import ModelKind
from proto.store import StoredModel
from services.runner.engine.vision.families import can_see
from services.runner.models import hub_cache
from services.runner.models.bundle import BUNDLED, BUNDLED_ALIASES, gguf
from services.runner.models.folder import is_whole, shards_of
from services.runner.models.kind import Kind, kind_of, read_json, transformer_of
from services.runner.models.names import aliases_of, id_of
from services.runner.store.footprint import UNPACKS, footprint, layout_of
from services.runner.store.hashes import Hashes, fingerprint
from services.runner.store.packaged import (
    PACKED_FOOTPRINT,
    PACKED_LAYOUT,
    UNPACKED_FOOTPRINT,
    UNPACKED_LAYOUT,
)
from services.runner.store.parts import Part, parts_of
from services.runner.store.weights import Tensors, read_tensors

Origin = Literal["hub", "own", "foreign"]
"""Whose a folder is: ``own`` ones were made by this node, ``foreign`` ones are only looked at."""

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Places(NamedTuple):
    """Where to look, beyond the hub's cache."""

    own: Path
    """The folder of this node's own models."""
    shelves: tuple[Path, ...] = ()
    """Folders whose folders are models, or hold some."""
    named: tuple[str, ...] = ()
    """Model folders, as somebody named them."""


class Found(NamedTuple):
    """A whole model folder, not looked into yet."""

    folder: Path
    id: ModelId
    source: str
    origin: Origin
    revision: str = ""


def find_all(places: Places) -> list[Found]:
    """Every folder once, however many ways lead to it; one that was named keeps that name."""
    found = [
        *map(found_in_hub_cache, hub_cache.snapshots()),
        *(found_at(name, places) for name in places.named),
        *(found_at(str(folder), places) for folder in _folders(places.own)),
        *(
            found_at(str(folder), places)
            for shelf in places.shelves
            for folder in _models_on(shelf)
        ),
    ]
    once: dict[Path, Found] = {}
    for one in found:
        if is_whole(one.folder):
            once.setdefault(one.folder.resolve(), one)
    return list(once.values())


def found_in_hub_cache(snapshot: hub_cache.Snapshot) -> Found:
    return Found(snapshot.folder, ModelId(snapshot.id), snapshot.id, "hub", snapshot.commit)


def found_at(source: str, places: Places) -> Found:
    folder = Path(os.path.normpath(Path(source).expanduser().absolute()))
    origin: Origin = "own" if folder.parent == places.own.absolute() else "foreign"
    return Found(folder, id_of(source), source, origin)


def stamp_of(parts: list[Part]) -> tuple[tuple[str, int, int], ...]:
    """Differs when a file was written: what is known of the same files need not be found anew."""
    states = [(part.path, part.file.stat()) for part in parts]
    return tuple((path, state.st_size, state.st_mtime_ns) for path, state in states)


def describe(found: Found, hashes: Hashes, *, trusts_code: bool) -> StoredModel:
    """Reads every file that was not read before. Raises OSError and ValueError."""
    parts = parts_of(found.folder, trusts_code=trusts_code)
    kind = kind_of(found.folder, found.id)
    inner = transformer_of(found.folder)
    config = read_json(inner / "config.json")
    states = [part.file.stat() for part in parts]
    return StoredModel(
        id=found.id,
        aliases=aliases_of(found.id),
        source=found.source,
        revision=found.revision,
        fingerprint=fingerprint(parts, hashes),
        disk_bytes=sum(state.st_size for state in states),
        footprint=footprint(found.folder, kind),
        layout=layout_of(found.folder, kind),
        kind=_model_kind(kind, found.folder),
        family=str(config.get("model_type", "")),
        quantization=_form(config, read_tensors(shards_of(inner))),
        modified_s=max((state.st_mtime for state in states), default=0.0),
    )


def bundled(hashes: Hashes) -> StoredModel | None:
    """The packaged model, unpacked or not; None where there is none."""
    packed = gguf()
    if packed is None:
        return None
    return StoredModel(
        id=BUNDLED,
        aliases=BUNDLED_ALIASES,
        source="smollm2",
        fingerprint=hashes.of(packed)[:32],
        disk_bytes=packed.stat().st_size,
        footprint=UNPACKED_FOOTPRINT if UNPACKS else PACKED_FOOTPRINT,
        layout=UNPACKED_LAYOUT if UNPACKS else PACKED_LAYOUT,
        family="llama",
        quantization="4bit",
        modified_s=packed.stat().st_mtime,
    )


def _model_kind(kind: Kind, folder: Path) -> ModelKind:
    if kind != "generator":
        return kind
    return "vlm" if can_see(folder) else "llm"


def _form(config: dict[str, Any], tensors: Tensors) -> str:
    """As stored, such as ``4bit`` or ``bfloat16``."""
    told = config.get("quantization") or config.get("quantization_config") or {}
    if told.get("bits"):
        return f"{told['bits']}bit"
    largest = max(tensors.values(), key=lambda tensor: tensor.size)
    return _DTYPES.get(largest.dtype, largest.dtype.lower())


def _folders(shelf: Path) -> list[Path]:
    with suppress(OSError):
        entries = sorted(os.scandir(shelf), key=lambda entry: entry.name)
        return [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
    return []


def _models_on(shelf: Path) -> Iterator[Path]:
    """Some programs keep models by owner: ``shelf/owner/model``."""
    for folder in _folders(shelf):
        if is_whole(folder):
            yield folder
        else:
            yield from filter(is_whole, _folders(folder))
