"""What a scheduler is told."""

from pathlib import Path

from msgspec import Struct

from services.host import setting


class Settings(Struct, frozen=True, kw_only=True):
    config: Path
    """The file whose every version is put into effect; it need not exist."""

    @classmethod
    def read(cls, home: Path) -> "Settings":
        """From ODYSSAI_CONFIG."""
        named = setting("ODYSSAI_CONFIG", str(home / "odyssai.yaml"))
        return cls(config=Path(named).expanduser().absolute())
