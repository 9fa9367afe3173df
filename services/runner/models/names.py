"""What models are called, known before anything is loaded: by agents and engines alike."""

from pathlib import Path

from proto.ids import ModelId
from services.runner.models.bundle import BUNDLED, BUNDLED_ALIASES, is_bundled

NO_MODEL = "none"
"""Said in the place of models: the node holds what its plan says, and nothing else."""


def is_path(source: str) -> bool:
    """Whether it can only be a folder, there or not; ``org/name`` is the hub's unless a folder."""
    path = Path(source).expanduser()
    is_local = path.is_absolute() or source.startswith((".", "~")) or source.count("/") != 1
    return is_local or path.is_dir()


def id_of(source: str) -> ModelId:
    """What the model of a source is called. Never a path."""
    if is_bundled(source):
        return BUNDLED
    path = Path(source).expanduser()
    is_folder = path.is_dir() or path.is_absolute() or source.startswith((".", "~"))
    return ModelId(path.resolve().name if is_folder else source)


def aliases_of(id: ModelId) -> tuple[ModelId, ...]:
    """Other names that it has by itself: without its owner, and in small letters."""
    if id == BUNDLED:
        return BUNDLED_ALIASES
    short = id.rpartition("/")[2]
    names = dict.fromkeys((short, short.lower(), id.lower()))
    return tuple(ModelId(name) for name in names if name != id)
