"""The terminal of whoever runs `odyssai up`."""

import sys
from typing import TextIO


class Screen:
    """Lines that stay, and one line of progress below them that changes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._progress = ""

    def say(self, text: str) -> None:
        self._wipe()
        print(text, file=self._out, flush=True)

    def progress(self, text: str, detail: str = "") -> None:
        """``detail`` changes with every call; it is for those who can watch it change."""
        if self._out.isatty():
            self._wipe()
            self._out.write(text + detail)
            self._out.flush()
        elif text != self._progress:
            print(text, file=self._out, flush=True)
        self._progress = text

    def _wipe(self) -> None:
        if self._progress and self._out.isatty():
            self._out.write("\r\x1b[K")
            self._progress = ""
