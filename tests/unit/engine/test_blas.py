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
import ctypes, os, sys
from services.runner.engine import blas
blas.preload()
own = blas.share_cores(int(sys.argv[1]))
print(own, ctypes.CDLL(blas.OPENBLAS).openblas_get_num_threads())
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


def test_processes_that_compute_together_share_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))

    assert run(SHARED, "1") == f"None {cores}"
    assert run(SHARED, "2") == f"{max(1, cores // 2)} {max(1, cores // 2)}"
    assert run(SHARED, str(3 * cores)) == "1 1"


def test_who_sets_the_number_of_threads_has_decided_it() -> None:
    assert run(SHARED, "2", OPENBLAS_NUM_THREADS="2") == "None 2"


def test_where_there_is_no_openblas_nothing_is_shared() -> None:
    assert run(SHARED.replace("blas.preload()", ""), "2").startswith("None ")


def test_a_reproducible_engine_computes_the_same_bits_in_any_company(tmp_path: Path) -> None:
    model = make_tiny(tmp_path / "tiny")

    assert run(IN_COMPANY, str(model), reproducible="1") == "0.0"
