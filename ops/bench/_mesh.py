"""A real mesh, as `odyssai up` runs it, in a home of its own."""

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bus import embedded
from ops import probe
from ops.bench._children import Running, free_port, running
from ops.bench._load import Server
from proto.credentials import HOME, Role

NODE = "bench"
START_S = 120.0
"""The bundled model is unpacked on its first use."""


@dataclass(frozen=True)
class Mesh:
    home: Path
    port: int
    program: Running

    def bus_url(self, role: Role, name: str = HOME) -> str:
        """The way to the bus by one of the home's credentials."""
        access = embedded.known_access(self.home)
        assert access is not None, "a mesh that runs has a bus"
        return access.url(role, name)

    async def server(self) -> Server:
        """Its gateway and its one model, once that can be asked for. Raises NotStarted."""
        models: list[str] = []

        async def is_ready() -> bool:
            models[:] = await self._models()
            return bool(models)

        await self.program.until(is_ready, START_S)
        return Server("odyssai", self.port, models[0])

    async def _models(self) -> list[str]:
        if (await probe.fetch("127.0.0.1", self.port, "/ready"))[0] != 200:
            return []
        status, body = await probe.fetch("127.0.0.1", self.port, "/v1/models")
        return [model["id"] for model in json.loads(body)["data"]] if status == 200 else []

    def process(self, module: str) -> psutil.Process:
        """The process that runs ``python -m module``."""
        below = psutil.Process(self.program.process.pid).children(recursive=True)
        return next(each for each in below if module in each.cmdline())


@asynccontextmanager
async def mesh(
    *models: str, told: Mapping[str, str] | None = None, more: tuple[str, ...] = ()
) -> AsyncIterator[Mesh]:
    """With no model there is no runner: the caller brings the engine. ``told``: its settings;
    ``more``: services beside gateway and scheduler.
    """
    services = ("gateway", "scheduler", "runner") if models else ("gateway", "scheduler", *more)
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        home, port = Path(folder) / "home", free_port()
        argv = [sys.executable, "-m", "ops.command", "up", "--home", str(home)]
        argv += ["--port", str(port), "--only", ",".join(services), "--node", NODE]
        argv += [part for model in models for part in ("--model", model)]
        log = Path(folder) / "up.log"
        async with running((*argv, "--log-level", "warning"), log, told) as program:
            yield Mesh(home, port, program)
