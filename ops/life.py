"""One process of a program: its end, and the signs by which it says that it serves."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping

READY_FD = "ODYSSAI_READY_FD"
"""Where a process writes a line each time that it begins to serve: at its start, and when it has
started itself anew."""


class Life:
    """It leads a session of its own: Ctrl-C in a terminal reaches the supervisor alone."""

    def __init__(self, process: asyncio.subprocess.Process, signs: int) -> None:
        self.process = process
        self._outlet = signs
        self._signs: asyncio.Queue[bool] = asyncio.Queue()
        """True: it serves. False: it never will again."""
        os.set_blocking(signs, False)
        asyncio.get_running_loop().add_reader(signs, self._take)

    @classmethod
    async def begin(
        cls,
        argv: tuple[str, ...],
        environment: Mapping[str, str],
        inherits: tuple[int, ...],
        stdin: int,
        output: int,
    ) -> "Life":
        """Raises OSError."""
        outlet, inlet = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=stdin,
                stdout=output,
                stderr=output,
                env={**environment, READY_FD: str(inlet)},
                pass_fds=(*inherits, inlet),
                start_new_session=True,
            )
        except BaseException:
            os.close(outlet)
            raise
        finally:
            os.close(inlet)
        return cls(process, outlet)

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    def forget_signs(self) -> None:
        """What it said until now counts no more."""
        while not self._signs.empty() and self._signs.get_nowait():
            pass

    async def serves(self, within_s: float) -> bool:
        """Its next sign; False when there is none in time, or it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._signs.get()
        return False

    def send(self, number: int) -> None:
        if not self.has_ended:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Its status."""
        status = await self.process.wait()
        self._close()
        return status

    def sweep(self) -> None:
        """End whatever runs in its process group, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _take(self) -> None:
        said = os.read(self._outlet, 64)
        self._signs.put_nowait(bool(said))
        if not said:
            self._close()

    def _close(self) -> None:
        if self._outlet >= 0:
            asyncio.get_running_loop().remove_reader(self._outlet)
            os.close(self._outlet)
            self._outlet = -1
            self._signs.put_nowait(False)
