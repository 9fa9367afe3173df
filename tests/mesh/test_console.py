"""A mesh from a terminal and over HTTP: what is there, loaded, unloaded, cancelled, drained."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import ollama
import psutil
import pytest

from tests.hub import Hub
from tests.mesh.asking import chat
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import NODE, Command, Mesh, until

Odyssai = Callable[..., str]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub.open() as hub:
        yield hub


@pytest.fixture(scope="module")
def fleet(
    start_mesh: OwnMesh, hub: Hub, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mesh:
    """One node that serves ``tiny`` and has ``spare`` on its disk."""
    models = tmp_path_factory.mktemp("stored")
    shutil.copytree(tiny_model, models / "spare")
    told = {
        "ODYSSAI_MODEL_DIRS": str(models),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(models / "hub"),
        "HF_HUB_OFFLINE": "0",
    }
    return start_mesh(tiny_model, told=told)


@pytest.fixture
def http(fleet: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fleet.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def odyssai(fleet: Mesh) -> Odyssai:
    """What a command says until it ends; it must end as the caller expects."""

    def run(*arguments: str, status: int = 0, told: Mapping[str, str] | None = None) -> str:
        command = Command(*arguments, "--home", str(fleet.home), told=told)
        try:
            assert command.process.wait(30) == status, command.said.text
        finally:
            command.end()
        return command.said.text

    return run


def states(http: httpx.Client) -> dict[str, str]:
    models = http.get("/admin/models").json()["models"]
    return {model["model"]: model["state"] for model in models}


def test_the_tables_tell_what_is_where(odyssai: Odyssai) -> None:
    nodes, models = odyssai("nodes"), odyssai("models")

    assert nodes.splitlines()[1].split()[:2] == [NODE, "alive"]
    told = {line.split()[0]: line.split()[1] for line in models.splitlines()[1:]}
    assert (told["tiny"], told["spare"]) == ("loaded", "stored")


def test_a_model_is_loaded_served_and_unloaded(odyssai: Odyssai, fleet: Mesh) -> None:
    loaded = odyssai("load", "spare", "--context", "512", "--batch", "1")
    assert f"loaded on {NODE} with 1 × 512 tokens" in loaded
    assert "spare" in fleet.models()

    assert f"unloaded from {NODE}" in odyssai("unload", "spare")
    assert "spare" not in fleet.models()


def test_what_does_not_fit_is_refused_with_the_numbers(
    odyssai: Odyssai, http: httpx.Client
) -> None:
    told = odyssai("load", "spare", "--context", "8192", "--batch", "1000000", status=1)

    assert "odyssai: spare needs" in told
    assert states(http)["spare"] == "stored"


def test_what_is_loaded_is_not_deleted(odyssai: Odyssai) -> None:
    assert "odyssai: tiny is loaded" in odyssai("rm", "tiny", status=1)


def test_a_job_is_cancelled_from_elsewhere(odyssai: Odyssai, http: httpx.Client) -> None:
    id = json.loads(odyssai("load", "spare", "--detach", "--json"))["id"]
    odyssai("cancel", id[:8])

    assert "cancelled" in odyssai("jobs", id, "--follow", status=1)
    until(lambda: states(http)["spare"] == "stored", what="spare unloaded")


def test_a_model_that_ends_its_engine_three_times_is_refused_until_its_quarantine_is_lifted(
    odyssai: Odyssai, fleet: Mesh, http: httpx.Client
) -> None:
    known = fleet.pids("engine")
    id = json.loads(odyssai("load", "spare", "--detach", "--json"))["id"]
    for _ in range(3):
        (engine,) = until(lambda: fleet.pids("engine") - known, what="an engine for spare")
        psutil.Process(engine).kill()
        known.add(engine)

    assert f"spare is quarantined on {NODE}" in odyssai("jobs", id, "--follow", status=1)
    assert states(http)["spare"] == "quarantined"
    assert f"quarantined on {NODE}: SIGKILL" in odyssai("nodes")
    refused = http.post("/v1/chat/completions", json=chat(model="spare"))
    assert refused.status_code == 503
    assert "odyssai load spare --lift-quarantine" in refused.json()["error"]["message"]

    odyssai("load", "spare", "--lift-quarantine")
    assert http.post("/v1/chat/completions", json=chat(model="spare", max_tokens=1)).is_success
    odyssai("unload", "spare")


def test_a_gated_model_is_pulled_with_the_token_of_the_environment(
    odyssai: Odyssai, hub: Hub, tiny_model: Path, fleet: Mesh, http: httpx.Client
) -> None:
    hub.add("org/gated", tiny_model, token="hf_secret-of-mine")
    assert "odyssai: " in odyssai("pull", "org/gated", status=1)

    pulled = odyssai("pull", "org/gated", told={"HF_TOKEN": "hf_secret-of-mine"})

    assert f"{NODE} " in pulled
    assert "100 %" in pulled
    assert states(http)["org/gated"] == "stored"
    assert "hf_secret-of-mine" not in odyssai("jobs", "--json") + fleet.logs()
    odyssai("rm", "org/gated")
    assert "org/gated" not in states(http)


def test_a_pull_is_paused_goes_on_and_is_cancelled(
    odyssai: Odyssai, hub: Hub, tiny_model: Path, http: httpx.Client
) -> None:
    hub.add("org/slow", tiny_model)
    hub.faults.bytes_per_s = 100_000
    id = json.loads(odyssai("pull", "org/slow", "--detach", "--json"))["id"]

    def state() -> str:
        return str(http.get(f"/admin/jobs/{id}").json()["state"])

    odyssai("pause", id)
    until(lambda: state() == "paused", what="paused")
    odyssai("resume", id)
    until(lambda: state() == "running", what="going on")
    odyssai("cancel", id)

    assert "cancelled" in odyssai("jobs", id, "--follow", status=1)
    hub.faults.bytes_per_s = None
    assert "org/slow" not in states(http)


def test_ollamas_client_pulls_and_deletes(fleet: Mesh, hub: Hub, tiny_model: Path) -> None:
    hub.add("org/whale", tiny_model)
    with ollama.Client(host=fleet.url, trust_env=False) as llama:
        told = [
            (step.status, step.completed, step.total)
            for step in llama.pull("org/whale", stream=True)
        ]
        assert told[-1] == ("success", None, None)
        assert [total for status, _, total in told if status == "pulling org/whale"]
        assert llama.delete("org/whale").status == "success"


def test_a_drained_node_takes_nothing_new_until_it_is_undrained(
    odyssai: Odyssai, http: httpx.Client
) -> None:
    odyssai("drain", NODE)
    assert http.get("/admin/nodes/here").json()["state"] == "draining"
    assert http.get("/ready").status_code == 503

    odyssai("undrain", NODE)
    until(lambda: http.get("/ready").is_success, what="ready again")
    assert http.post("/v1/chat/completions", json=chat(max_tokens=1)).is_success


def test_the_same_is_done_over_http(http: httpx.Client, odyssai: Odyssai) -> None:
    begun = http.post("/admin/models/load", json={"model": "spare"})
    assert begun.status_code == 202

    told = events(http, begun.headers["location"])
    assert [job["state"] for job in told][-1] == "done"
    assert "loading" in {node["phase"] for job in told for node in job["nodes"]}
    assert http.post("/v1/chat/completions", json=chat(model="spare", max_tokens=1)).is_success
    assert http.get("/admin/models/spare").json()["engines"][0]["phase"] == "ready"

    unloaded = http.post("/admin/unload", json={"model": "spare"})
    assert (unloaded.status_code, unloaded.json()["state"]) == (200, "done")
    assert unloaded.json()["id"] in odyssai("jobs")


def events(http: httpx.Client, job: str) -> list[Any]:
    with http.stream("GET", f"{job}/events") as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_the_doctor_looks_at_the_machine(odyssai: Odyssai) -> None:
    found = json.loads(odyssai("doctor", "--json"))

    checks = {each["check"]: each["level"] for each in found if each["subject"] in (NODE, "mesh")}
    assert checks.keys() >= {"scheduler", "bus", "clock", "disk", "mlx", "mlx-lm", "system"}
    assert checks["clock"] == checks["scheduler"] == checks["mlx"] == "OK"
    assert f"{len(found)} checks, 0 failed" in odyssai("doctor", "--quick")


def test_the_status_counts_what_is_there(http: httpx.Client) -> None:
    status = http.get("/admin/status").json()

    assert status["leader"]
    assert status["nodes"] == {"alive": 1}
    assert status["models"]["loaded"] == 1
