"""A bus server of one's own, with nobody on it yet."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus import embedded
from ops.bench._children import running

START_S = 30.0


@asynccontextmanager
async def bus_server(home: Path) -> AsyncIterator[str]:
    """The address at which the mesh's own services reach it. Raises NotStarted."""
    server = embedded.prepare(home)
    try:
        async with running(server.argv, home / "bus.log") as program:
            await program.until(lambda: embedded.answers(server.access, 0.5), START_S)
            yield server.access.url("mesh")
    finally:
        os.close(server.claim)
