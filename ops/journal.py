"""What a program prints, kept in a file of bounded size across its restarts."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from io import FileIO
from pathlib import Path

MAX_BYTES = 4 << 20
"""Of one file; the one before is kept beside it as ``.1``."""
TAIL_LINES = 12
"""What an operator sees of a program that does not stay up."""
_CHUNK = 1 << 16


class Journal:
    """A pipe whose writing end is handed to every life of one program.

    The pipe is ours and not the process's, so what a program leaves behind,
    such as a runner's engines, still has a place to write to.
    """

    def __init__(self, path: Path, echo: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._echo = echo
        self._rest = b""
        self._is_full = False
        self._file = self._open()
        self._outlet, self.inlet = os.pipe()
        os.set_blocking(self._outlet, False)
        asyncio.get_running_loop().add_reader(self._outlet, self._take)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._outlet)
        while self._take():
            pass
        os.close(self._outlet)
        os.close(self.inlet)
        self._file.close()

    def _open(self) -> FileIO:
        return FileIO(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a")

    def _take(self) -> bool:
        try:
            chunk = os.read(self._outlet, _CHUNK)
        except BlockingIOError:
            return False
        self._keep(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        # A line without an end would grow for ever.
        self._rest = self._rest[-_CHUNK:]
        for line in lines:
            self._show(line.decode(errors="replace"))
        return True

    def _show(self, line: str) -> None:
        self.tail.append(line)
        if self._echo:
            self._echo(line)

    def _keep(self, chunk: bytes) -> None:
        """As far as the disk has room: what a program says must never stop the program."""
        try:
            self._file.write(chunk)
            if self._file.tell() > MAX_BYTES:
                self._turn_over()
            self._is_full = False
        except OSError as error:
            if not self._is_full:
                self._is_full = True
                self._show(f"{self.path} cannot be written, and misses what follows: {error}")

    def _turn_over(self) -> None:
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        before, self._file = self._file, self._open()
        before.close()
