"""Programs that run beside a benchmark and never longer than it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEASH = ("/bin/sh", str(ROOT / "ops" / "leash.sh"))
GRACE_S = 15.0
_LOOK_S = 0.05


class NotStarted(Exception):
    """A program ended, or stayed silent, before it could be measured."""


class Running:
    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    async def until(self, is_ready: Callable[[], Awaitable[bool]], within_s: float) -> None:
        """Raises NotStarted with the end of its log."""
        try:
            async with asyncio.timeout(within_s):
                while not await is_ready():
                    if self.process.returncode is not None:
                        raise NotStarted(f"it ended at once:\n{self.last_words()}")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise NotStarted(f"silent for {within_s:g} s:\n{self.last_words()}") from None

    def last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@asynccontextmanager
async def running(
    argv: tuple[str, ...],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    is_spoken_to: bool = False,
) -> AsyncIterator[Running]:
    """A program on a leash: it ends with this block, and with this process, however that ends.

    With ``is_spoken_to`` its standard input and output are pipes; it then has to end by itself
    when its input does.
    """
    held: list[int] = []
    with log.open("ab") as out:
        if is_spoken_to:
            stdin = stdout = asyncio.subprocess.PIPE
        else:
            stdin, hold = os.pipe()
            held, stdout = [stdin, hold], out.fileno()
        process = await asyncio.create_subprocess_exec(
            *(argv if is_spoken_to else (*LEASH, *argv)),
            stdin=stdin,
            stdout=stdout,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
            limit=1 << 24,
        )
    try:
        yield Running(process, log)
    finally:
        await _end(process)
        for descriptor in held:
            os.close(descriptor)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
