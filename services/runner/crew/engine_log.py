"""What an engine's processes write to, one after the other, and what the last one said."""

import logging
import os
import re
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

MOST_BYTES = 5_000_000
"""A longer log is put aside before the next process starts; one older file is kept."""
NOT_LOADABLE = f"exit status {os.EX_DATAERR}"
"""How an engine ends whose model cannot be loaded; the last it says is why, for people."""
OTHERS_LEFT = f"exit status {os.EX_TEMPFAIL}"
"""How a rank ends that cannot go on without others of its group; the last it says is why."""
UNMET = "SIGALRM"
"""How it ends where it waits for others in vain."""

_TAIL_BYTES = 4096
_SENTENCE = re.compile(r" ERROR engine \S+: ")
_ALL_IS_WELL = re.compile(r"^\S+ \S+ (?:INFO|DEBUG) engine ")


class EngineLog:
    """The log of one engine of a node, whatever process it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since = 0
        """Where the present process began to write, or was adopted."""

    def open(self) -> IO[bytes]:
        """For the next process. Where the disk has no room it writes to nowhere."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._size() > MOST_BYTES:
                self._path.replace(self._path.with_suffix(".old.log"))
            self.mark()
            return self._path.open("ab")
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
            return Path(os.devnull).open("ab")

    def mark(self) -> None:
        """What comes from here on is the present process's."""
        self._since = self._size()

    def last_words(self, why: str, lines: int = 3) -> str:
        """Why the process ended, in its own words where it has said something of it."""
        said = self._end()
        if why in (NOT_LOADABLE, OTHERS_LEFT) and _SENTENCE.search(said):
            return _SENTENCE.split(said)[-1]
        complaints = [line for line in said.splitlines() if not _ALL_IS_WELL.match(line)]
        return ": ".join(filter(None, (why, "\n".join(complaints[-lines:]))))

    def _end(self) -> str:
        size = self._size()
        if size <= self._since:
            return ""
        with self._path.open("rb") as file:
            file.seek(max(self._since, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0
