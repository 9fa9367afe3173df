"""What transformers finds when it searches its own folders, kept from one start to the next.

At every import it reads the files of some 500 model families, twice, to learn which names they
define: almost half of an engine's start. What it found is kept beside the package's compiled files,
and like those is out of date once the package is another.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from bus.home import write_private

SCANNER = "transformers.utils.import_utils"
LEAST_FAMILIES = 50
"""A folder of fewer is read as quickly as what was kept of it."""
Names = dict[str, set[str]]
"""A file, and what it defines."""
Structure = dict[frozenset[str], Names]
"""By what those files need installed."""


def remember() -> None:
    """Call before transformers is first imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Once the module with the search is there, it searches no folder again that is known."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != SCANNER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                module.define_import_structure = remembering(module.define_import_structure)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def remembering(search: Callable[..., Structure]) -> Callable[..., Structure]:
    """``search``: of a folder or of a file in it, with what stands before the names of files."""

    def remembered(place: Any, prefix: str | None = None) -> Structure:
        folder = Path(place) if Path(place).is_dir() else Path(place).parent
        if sum(1 for _ in folder.iterdir()) < LEAST_FAMILIES:
            return search(place, prefix)
        kept = folder / "__pycache__" / f"names-{version('transformers')}-{prefix or ''}.json"
        with suppress(OSError, msgspec.DecodeError):
            return _read(kept.read_bytes())
        found = search(place, prefix)
        with suppress(OSError):
            write_private(kept, _written(found))
        return found

    return remembered


def _written(structure: Structure) -> str:
    entries = [(sorted(needs), names) for needs, names in structure.items()]
    return msgspec.json.encode(entries).decode()


def _read(kept: bytes) -> Structure:
    entries = msgspec.json.decode(kept, type=list[tuple[frozenset[str], Names]])
    return dict(entries)
