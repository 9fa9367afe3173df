"""What an engine computes with on Linux, each in a process of its own: a BLAS is chosen once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.runner.engine.blas import OPENBLAS
from tests.tiny import make_tiny

ROOT = Path(__file__).parents[3]
LOADED = "from services.runner.engine import blas; print(blas.preload())"
SHARED = """
import ctypes, os, sys, threading
from services.runner.engine import blas
from services.runner.engine.group import cores
blas.preload()
waiting = threading.Event()
threading.Thread(target=waiting.wait, daemon=True).start()
cores.share(int(sys.argv[1]), int(sys.argv[2]))
threads = map(int, os.listdir("/proc/self/task"))
kept = {tuple(sorted(os.sched_getaffinity(thread))) for thread in threads}
print(ctypes.CDLL(blas.OPENBLAS).openblas_get_num_threads(), *kept)
"""
IN_COMPANY = """
import sys
from services.runner.engine import blas
blas.preload()
import mlx.core as mx
from mlx_lm import load
from mlx_lm.models.cache import make_prompt_cache

model, _ = load(sys.argv[1])
prompts = [[(7 * i + n) % 500 + 3 for i in range(n)] for n in (40, 105, 318, 77)]

def read(prompt):
    cache = make_prompt_cache(model)
    model(mx.array([prompt]), cache=cache)
    return cache

caches = [read(prompt) for prompt in prompts]
together = [layers[0].merge(list(layers)) for layers in zip(*caches)]
rows = model(mx.array([[9]] * len(prompts)), cache=together)[:, -1]
alone = [model(mx.array([[9]]), cache=read(prompt))[0, -1] for prompt in prompts]
in_pieces = make_prompt_cache(model)
for token in prompts[0]:
    model(mx.array([[token]]), cache=in_pieces)
alone.append(model(mx.array([[9]]), cache=in_pieces)[0, -1])
worst = [mx.abs(a - b).max().item() for a, b in zip([*rows, rows[0]], alone)]
print(max(worst))
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere mlx's own BLAS is the fast one"
)


def run(code: str, *args: str, reproducible: str = "0", **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ODYSSAI_REPRODUCIBLE": reproducible, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_openblas_is_there_unless_answers_are_to_be_reproducible() -> None:
    assert run(LOADED) == OPENBLAS
    assert run(LOADED, reproducible="1") == "None"


CORES = sorted(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else []


def test_ranks_on_one_machine_keep_to_cores_of_their_own() -> None:
    half = len(CORES) // 2 or len(CORES)

    assert run(SHARED, "0", "2") == f"{half} {tuple(CORES[:half])}"
    assert run(SHARED, "1", "2") == f"{half} {tuple(CORES[-half:][:half])}"


def test_a_rank_alone_has_all_of_them_and_too_many_share_all() -> None:
    assert run(SHARED, "0", "1") == f"{len(CORES)} {tuple(CORES)}"
    assert run(SHARED, "0", str(2 * len(CORES) + 1)) == f"1 {tuple(CORES)}"


def test_who_sets_the_number_of_threads_has_decided_it() -> None:
    assert run(SHARED, "0", str(len(CORES)), OPENBLAS_NUM_THREADS="2").startswith("2 ")


def test_a_reproducible_engine_computes_the_same_bits_in_any_company(tmp_path: Path) -> None:
    model = make_tiny(tmp_path / "tiny")

    assert run(IN_COMPANY, str(model), reproducible="1") == "0.0"
