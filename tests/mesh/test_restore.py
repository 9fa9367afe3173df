"""The power goes and comes back: what was loaded is served again, and nobody has to ask for it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.mesh.asking import chat, posted
from tests.mesh.house import READY_S, Mesh, living, until
from tests.tiny import make_tiny

ORDERED, ASKED_FOR = "ordered", "asked-for"
GONE_S = 3.0

PowerOn = Callable[[], Mesh]


@pytest.fixture
def power_on(tmp_path: Path) -> Iterator[PowerOn]:
    """Starts the mesh of one home, which has two models on its disk and is told to load none."""
    for name in (ORDERED, ASKED_FOR):
        make_tiny(tmp_path / "shelf" / name)
    told = {"ODYSSAI_MODEL_DIRS": str(tmp_path / "shelf")}
    started: list[Mesh] = []

    def start() -> Mesh:
        started.append(Mesh(tmp_path / "home", ["none"], told))
        return started[-1]

    yield start
    for mesh in started:
        mesh.end()


def cut_power(mesh: Mesh) -> None:
    """Nothing gets to say goodbye, the bus included."""
    family = mesh.family()
    assert mesh.pids("nats-server")
    mesh.process.kill()
    until(lambda: not living(family), GONE_S, "no process left")


def jobs_of(mesh: Mesh) -> list[dict[str, Any]]:
    answer = httpx.get(f"{mesh.url}/admin/jobs", timeout=10, trust_env=False)
    return [{name: job[name] for name in ("id", "by", "state")} for job in answer.json()["jobs"]]


def test_after_a_power_cut_all_models_are_served_again_each_started_beside_the_other(
    power_on: PowerOn,
) -> None:
    mesh = power_on().wait_until_it_serves()
    loaded = posted(mesh, "/admin/models/load", {"model": ORDERED, "wait": True})
    assert loaded.json()["state"] == "done"
    assert posted(mesh, "/v1/chat/completions", chat(model=ASKED_FOR)).is_success
    until(lambda: all(job["state"] == "done" for job in jobs_of(mesh)), what="all jobs done")
    jobs = jobs_of(mesh)
    assert [job["by"] for job in jobs] == ["demand", "operator"]

    cut_power(mesh)
    mesh = power_on()
    until(mesh.models, READY_S, "a model served again")
    first_served_s = time.time()
    until(lambda: mesh.models() == {ORDERED, ASKED_FOR}, READY_S, "both models served again")

    born = sorted(psutil.Process(pid).create_time() for pid in mesh.pids("engine"))
    assert len(born) == 2
    # One after the other, the second would begin when the first one serves.
    assert born[1] - born[0] < (first_served_s - born[0]) / 2
    assert jobs_of(mesh) == jobs
    for model in (ORDERED, ASKED_FOR):
        assert posted(mesh, "/v1/chat/completions", chat(model=model)).is_success
