"""Other servers of MLX models, started for a comparison with the same model and the same BLAS."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from ops import probe
from ops.bench._children import free_port, running
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

        async def is_ready() -> bool:
            return (await probe.fetch("127.0.0.1", port, "/health"))[0] == 200

        await program.until(is_ready, START_S)
        yield Server(name, port, str(model))


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
    place = CACHE / f"vllm-mlx-{mlx}"
    if not (place / "bin" / "vllm-mlx").exists():
        say(f"installing vllm-mlx into {place}; this takes minutes")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        wanted = ["vllm-mlx", f"mlx=={mlx}"]
        if sys.platform.startswith("linux"):
            wanted.append(f"mlx-cpu=={mlx}")
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *wanted], check=True)
    return place
