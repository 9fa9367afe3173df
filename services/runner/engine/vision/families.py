"""Which families of mlx-vlm can show pictures here, and how they differ.

Each is run against mlx-vlm's own generation by the tests. What is missing from the list
may need what a batch cannot give it, such as attention in both directions within a picture.
"""

from dataclasses import dataclass
from pathlib import Path

from services.runner.models.kind import read_json


@dataclass(frozen=True)
class Family:
    mark: str = "image_token"
    """The processor's attribute that names what a prompt holds in a picture's place."""
    has_grid: bool = False
    """A patch has a place in three dimensions, so that positions run ahead of or behind tokens."""
    attention: str = ""
    """The family whose attention takes the place of its own; empty: its own does."""


FAMILIES = {
    "gemma3": Family(mark="boi_token"),
    "idefics3": Family(),
    "llava": Family(),
    "mistral3": Family(),
    "pixtral": Family(),
    "qwen2_5_vl": Family(has_grid=True),
    "qwen2_vl": Family(has_grid=True),
    "qwen3_vl": Family(has_grid=True),
    # Its own is the same but for a mask that is cut by the longest row: wrong with padding.
    "qwen3_vl_moe": Family(has_grid=True, attention="qwen3_vl"),
    "smolvlm": Family(),
}
"""By the ``model_type`` of a config."""


def can_see(folder: Path) -> bool:
    """True for a folder of a family that is shown pictures here, with all that this takes."""
    is_known = read_json(folder / "config.json").get("model_type") in FAMILIES
    processors = ("preprocessor_config.json", "processor_config.json")
    return is_known and any((folder / name).exists() for name in processors)
