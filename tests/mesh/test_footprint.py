"""What a mesh weighs, and who may import what."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.mesh.house import ROOT, Mesh, environment

LIMIT_BYTES = 400_000_000


def test_all_but_the_engines_are_light(mesh: Mesh) -> None:
    engines = mesh.pids("engine")
    others = [psutil.Process(mesh.process.pid), *mesh.family()]
    weights = {p.pid: _weight(p) for p in others if p.pid not in engines}

    assert len(weights) >= 7  # The supervisor, five services, the bus server.
    assert sum(weights.values()) < LIMIT_BYTES, weights


def _weight(process: psutil.Process) -> int:
    """Its share of what it shares and all of the rest, where the system can tell; else RSS."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", 0) or memory.rss)


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_only_engines_have_mlx_in_memory(mesh: Mesh) -> None:
    engines = mesh.pids("engine")
    holders = {
        process.pid
        for process in [psutil.Process(mesh.process.pid), *mesh.family()]
        if "libmlx" in Path(f"/proc/{process.pid}/maps").read_text()
    }

    assert holders == engines


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom ops.command import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=20, check=True,
    ).stdout  # fmt: skip

    assert "up" in said
    loaded = set(said.rpartition("LOADED")[2].split())
    heavy = {"nats", "litestar", "mlx", "mlx_lm", "uvicorn", "httpx", "psutil", "msgspec", "numpy"}
    assert not loaded & heavy
