"""That the bus server writes again once its disk has room: by itself it never would."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

SIGNS = ("no space left on device", "critical write error")
"""What nats-server 2.15 says of a write that failed; that part of its state is then shut."""
ROOM_BYTES = 32 << 20
"""So much is worth a new start."""
LOOK_S = 1.0
PAUSE_S = 10.0
"""Between two new starts, whatever it says."""


class StoreRoom:
    """The folder of a bus server's state. ``free`` is a test's."""

    def __init__(
        self,
        folder: Path,
        tell: Callable[[str], None],
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folder = folder
        self._tell = tell
        self._free = free
        self._is_shut = asyncio.Event()

    def hear(self, line: str) -> None:
        """What the server says."""
        if any(sign in line for sign in SIGNS):
            self._is_shut.set()

    async def keep(self, restart: Callable[[], None]) -> None:
        """For ever: wait until there is room, then ``restart`` the server."""
        while True:
            await self._is_shut.wait()
            if self._free(self._folder) < ROOM_BYTES:
                self._tell(
                    f"the disk of {self._folder} is full: requests are served on, but nothing is "
                    f"kept, loaded or moved; make room, {ROOM_BYTES >> 20} MiB at least"
                )
                while self._free(self._folder) < ROOM_BYTES:
                    await asyncio.sleep(LOOK_S)
            restart()
            await asyncio.sleep(PAUSE_S)
            self._is_shut.clear()
