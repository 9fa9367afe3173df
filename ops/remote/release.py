"""What is installed on nodes: a wheel of this very source, and the lock file with its hashes."""

import asyncio
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.remote.errors import NotBuilt

SOURCE = Path(__file__).parents[2]
PACKAGES = ("proto", "bus", "services", "ops")
BESIDE = ("pyproject.toml", "README.md", "LICENSE")
LOCK = "requirements.lock"
NAME_LENGTH = 12
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@dataclass(frozen=True)
class Release:
    """One state of the source. It is built when somebody needs it, once."""

    name: str
    """The same for the same files."""
    source: Path
    workshop: Path
    """A folder for what is made of it."""
    turn: asyncio.Lock

    @property
    def lock(self) -> Path:
        return self.source / LOCK

    async def wheel(self) -> Path:
        """Raises NotBuilt."""
        async with self.turn:
            built = next(self.workshop.glob("*.whl"), None)
            return built or await self._build()

    async def _build(self) -> Path:
        copy = self.workshop / "source"
        await asyncio.to_thread(_copy, self.source, copy)
        building = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _BUILD, str(self.workshop)),
            cwd=copy,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await building.communicate()
        built = next(self.workshop.glob("*.whl"), None)
        if built is None:
            last = "\n".join(said.decode(errors="replace").splitlines()[-5:])
            raise NotBuilt(f"no wheel can be built of {self.source}:\n{last}")
        return built


@contextmanager
def release_of(source: Path = SOURCE) -> Iterator[Release]:
    """Raises NotBuilt where that is no source."""
    missing = [name for name in (*BESIDE, LOCK) if not (source / name).is_file()]
    if missing:
        raise NotBuilt(
            f"{source} is not the source of odyssai ({missing[0]} is missing); run the odyssai of "
            "the folder in which `make setup` was run"
        )
    with tempfile.TemporaryDirectory(prefix="odyssai-release-") as workshop:
        yield Release(fingerprint(source), source, Path(workshop), asyncio.Lock())


def fingerprint(source: Path) -> str:
    """Of the contents of all that goes into a release, and of their names."""
    known = hashlib.sha256()
    for file in sorted(_files(source)):
        known.update(f"{file.relative_to(source)}\0".encode())
        known.update(hashlib.sha256(file.read_bytes()).digest())
    return known.hexdigest()[:NAME_LENGTH]


def _files(source: Path) -> Iterator[Path]:
    yield from (source / name for name in (*BESIDE, LOCK))
    for package in PACKAGES:
        for file in (source / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _copy(source: Path, copy: Path) -> None:
    """Building leaves folders beside the source."""
    for file in _files(source):
        target = copy / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
