"""Other servers of MLX models, started for a comparison with the same model and the same BLAS."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from msgspec import json

from ops import probe
from ops.bench._children import Running, free_port, running
from ops.bench._load import Server
from ops.bench._report import say
from services.runner.engine import blas

NAMES = ("mlx_lm.server", "vllm-mlx")
START_S = 120.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "odyssai-bench"
"""Where a peer's environment is made, several GB, and found again the next time."""


@asynccontextmanager
async def peer(name: str, model: Path, folder: Path) -> AsyncIterator[Server]:
    """Running, with its own defaults. Raises NotStarted."""
    port = free_port()
    argv = _argv(name, model, port)
    async with running(argv, folder / f"{name}.log", _environment()) as program:
        await _until_healthy(program, port)
        yield Server(name, port, str(model))


@asynccontextmanager
async def ranks_of_mlx_lm(model: Path, folder: Path, count: int) -> AsyncIterator["Ranks"]:
    """mlx_lm.server with its layers split over so many processes, by ring. Raises NotStarted."""
    port, name = free_port(), NAMES[0]
    hosts = folder / "hosts.json"
    hosts.write_bytes(json.encode([[f"127.0.0.1:{free_port()}"] for _ in range(count)]))
    async with AsyncExitStack() as stack:
        programs = [
            await stack.enter_async_context(
                running(
                    _argv(name, model, port),
                    folder / f"{name}-{rank}.log",
                    _environment() | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
                )
            )
            for rank in range(count)
        ]
        await _until_healthy(programs[0], port)
        yield Ranks(Server(name, port, str(model)), programs)


@dataclass(frozen=True)
class Ranks:
    """Processes that ask one another without end whether there is anything to do."""

    server: Server
    programs: list[Running]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Not running, so that whoever else is measured has the cores."""
        for program in self.programs:
            os.killpg(program.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for program in self.programs:
                os.killpg(program.process.pid, signal.SIGCONT)


async def _until_healthy(program: Running, port: int) -> None:
    async def is_ready() -> bool:
        return (await probe.fetch("127.0.0.1", port, "/health"))[0] == 200

    await program.until(is_ready, START_S)


def _argv(name: str, model: Path, port: int) -> tuple[str, ...]:
    where = ("--host", "127.0.0.1", "--port", str(port))
    if name == "mlx_lm.server":
        quiet = ("--log-level", "WARNING")
        return (sys.executable, "-m", "mlx_lm", "server", "--model", str(model), *where, *quiet)
    program = str(_vllm_mlx() / "bin" / "vllm-mlx")
    return (program, "serve", str(model), *where, "--continuous-batching")


def _environment() -> dict[str, str]:
    """The faster BLAS, too, which our engine loads itself: no peer is to lose by mlx's wheel."""
    environment = {"HF_HUB_OFFLINE": "1"}
    if sys.platform.startswith("linux"):
        environment |= {"LD_PRELOAD": blas.OPENBLAS, "OPENBLAS_THREAD_TIMEOUT": blas.REST}
    return environment


def _vllm_mlx() -> Path:
    """An environment of its own; made once for each version of mlx."""
    mlx = metadata.version("mlx")
    wanted = ["vllm-mlx", f"mlx=={mlx}"]
    if sys.platform.startswith("linux"):
        wanted.append(f"mlx-cpu=={mlx}")
    return environment_for("vllm-mlx", wanted, made_for=f"-{mlx}")


def environment_for(program: str, wanted: Sequence[str], made_for: str = "") -> Path:
    """A virtual environment that has ``program``, made the first time."""
    place = CACHE / f"{program}{made_for}"
    if not (place / "bin" / program).exists():
        say(f"installing {program} into {place}; this takes minutes")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *wanted], check=True)
    return place
