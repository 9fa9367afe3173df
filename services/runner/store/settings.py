"""Where a node's model files may be, and how peers reach them."""

import os
from pathlib import Path

from msgspec import Struct

from services.host import setting, switch


class Settings(Struct, frozen=True, kw_only=True):
    shelves: tuple[Path, ...]
    """Folders whose folders are models; only looked at."""
    files_host: str
    """The address at which peers fetch files; empty: the one towards the bus."""
    trusts_code: bool
    """Python in a model's folder is part of the model."""


def read() -> Settings:
    """From ODYSSAI_MODEL_DIRS and its neighbours in docs/settings.md. Raises SettingError."""
    named = setting("ODYSSAI_MODEL_DIRS", "").split(os.pathsep)
    return Settings(
        shelves=tuple(Path(name).expanduser() for name in named if name.strip()),
        files_host=setting("ODYSSAI_FILES_HOST", ""),
        trusts_code=switch("ODYSSAI_TRUST_REMOTE_CODE"),
    )
