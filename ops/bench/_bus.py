"""A bus server of one's own, with nobody on it yet, for benches that take many parts at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus import embedded
from bus.embedded import LOOPBACK, Access
from bus.home import private_folder
from ops.bench._children import free_port, running

START_S = 30.0
NAME = "bench"


@asynccontextmanager
async def bus_server(home: Path) -> AsyncIterator[str]:
    """The address at which anybody on this machine may do all. Raises NotStarted."""
    access = Access(private_folder(home), NAME, LOOPBACK, free_port())
    where = ("-a", LOOPBACK, "-p", str(access.port), "-js", "-sd", str(home / "jetstream"))
    argv = (str(embedded.find_server()), "-n", NAME, *where)
    async with running(argv, home / "bus.log") as program:
        await program.until(lambda: embedded.answers(access, 0.5), START_S)
        yield f"nats://{access.address}"
