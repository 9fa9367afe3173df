"""What the admin API asks of the scheduler that leads, and what it makes of the answer."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from bus import jobs as asking
from bus.config import change_layer, open_layers
from bus.connection import Bus
from proto.choice import Weigh, Weighed
from proto.config import Config, ConfigLayer
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.jobs import (
    Convert,
    Drain,
    Load,
    Order,
    Pin,
    Pull,
    Remove,
    RemoveNode,
    Restart,
    Sync,
    Undrain,
    Unload,
)
from proto.subjects import WEIGH
from tests.scripted_leader import ScriptedLeader
from tests.scripted_leader import leader as leading

M = "org/qwen-4b"


@pytest.mark.parametrize(
    ("method", "path", "body", "order"),
    [
        ("POST", "models/load", {"model": M}, Load(model=M)),
        (
            "POST",
            "models/load",
            {
                "model": M, "nodes": ["n1"], "replicas": 2, "context": 4096, "batch": 3, "slots": 5,
                "pinned": True, "idle_ttl_s": 60, "fetches": False, "makes_room": False,
                "lifts_quarantine": True, "split": "tensor", "ranks": 2, "cluster": "garage",
            },
            Load(
                model=M, nodes=("n1",), way="tensor", ranks=2, cluster="garage", replicas=2,
                context=4096, batch=3, slots=5, is_pinned=True,
                idle_ttl_s=60, fetches=False, makes_room=False, lifts_quarantine=True,
            ),
        ),
        ("POST", "models/unload", {"model": M, "force": True}, Unload(model=M, is_forced=True)),
        ("POST", "models/pin", {"model": M, "pinned": False}, Pin(model=M, is_pinned=False)),
        ("POST", "models/pull", {"model": M, "revision": "v1"}, Pull(model=M, revision="v1")),
        (
            "POST",
            "models/sync",
            {"model": M, "source": "a", "nodes": ["b"]},
            Sync(model=M, source="a", nodes=("b",)),
        ),
        (
            "POST",
            "models/convert",
            {"model": M, "bits": 4, "group_size": 32, "dtype": "float16", "name": "x", "node": "a"},
            Convert(model=M, bits=4, group_size=32, dtype="float16", name="x", node="a"),
        ),
        ("DELETE", f"models/{M}?node=a&node=b", None, Remove(model=M, nodes=("a", "b"))),
        ("POST", "nodes/a/drain", None, Drain(node="a")),
        ("POST", "nodes/a/undrain", {}, Undrain(node="a")),
        ("POST", "nodes/a/restart", {"engines": True}, Restart(node="a", engines=True)),
        ("DELETE", "nodes/a", None, RemoveNode(node="a")),
    ],
)  # fmt: skip
async def test_a_request_comes_to_an_order(
    admin: httpx.AsyncClient,
    leader: ScriptedLeader,
    method: str,
    path: str,
    body: Any,
    order: Order,
) -> None:
    answer = await admin.request(method, f"/admin/{path}", json=body)

    assert [asked.order for asked in leader.submitted] == [order]
    assert answer.status_code == 202
    assert answer.json()["state"] == "running"
    assert answer.headers["location"] == f"/admin/jobs/{answer.json()['id']}"


async def test_a_hub_token_goes_to_the_leader_and_into_no_answer(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    answer = await admin.post("/admin/models/pull", json={"model": M, "hf_token": "hf_secret"})

    assert leader.submitted[0].hub_token == "hf_secret"
    assert "hf_secret" not in answer.text
    assert "hf_secret" not in (await admin.get("/admin/jobs")).text


async def test_who_waits_gets_the_job_when_it_is_over(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    asked = asyncio.create_task(admin.post("/admin/models/load", json={"model": M, "wait": True}))
    job = await leader.followed_job()
    await leader.tell(job.id, phase="loading")
    await leader.tell(job.id, state="done", phase="ready")

    answer = await asked
    assert (answer.status_code, answer.json()["state"]) == (200, "done")


async def test_a_failure_that_was_waited_for_has_its_own_status(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    asked = asyncio.create_task(admin.post("/admin/load", json={"model": M}))
    job = await leader.followed_job()
    why = MeshError(Code.NO_MEMORY, "It needs 9 GB; 3 GB are free on a.", param="model")
    await leader.tell(job.id, state="failed", error=why.refusal())

    answer = await asked
    assert answer.status_code == 507
    assert answer.json()["error"] == {
        "message": "It needs 9 GB; 3 GB are free on a.",
        "type": "server_error",
        "param": "model",
        "code": "insufficient_memory",
    }
    assert answer.headers["location"] == f"/admin/jobs/{job.id}"


async def test_what_the_leader_refuses_is_refused(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    leader.refusal = MeshError(Code.CONFLICT, "It is loaded on a; unload it first.")

    answer = await admin.delete(f"/admin/models/{M}")

    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "It is loaded on a; unload it first."


async def test_all_is_unloaded_at_once(admin: httpx.AsyncClient, leader: ScriptedLeader) -> None:
    leader.begins_as = {"state": "done"}

    answer = await admin.post("/admin/unload?all=true")

    assert answer.status_code == 200
    assert [asked.order for asked in leader.submitted] == [Unload(model=M)]
    assert [job["state"] for job in answer.json()["jobs"]] == ["done"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("models/load", {"model": M, "colour": 1}, "colour"),
        ("models/load", {}, "model"),
        ("models/load", {"model": M, "replicas": 0}, "replicas"),
        ("models/convert", {"model": M, "bits": 9}, "bits"),
        ("nodes/a/drain", {"engines": True}, "engines"),
    ],
)
async def test_a_field_at_fault_is_named(
    admin: httpx.AsyncClient, leader: ScriptedLeader, path: str, body: Any, param: str
) -> None:
    answer = await admin.post(f"/admin/{path}", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert leader.submitted == []


async def test_what_there_is_is_shown_whole(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    models = (await admin.get("/admin/models")).json()["models"]
    by_alias = (await admin.get("/admin/models/qwen")).json()
    nodes = (await admin.get("/admin/nodes")).json()["nodes"]
    node = (await admin.get("/admin/nodes/studio-2")).json()
    status = (await admin.get("/admin/status")).json()

    assert [model["model"] for model in models] == [M, "org/other"]
    assert by_alias == models[0]
    assert nodes[0]["memory"]["free"] == 44 << 30
    assert (node["state"], node["engines"]) == ("draining", [])
    assert (status["leader"], status["epoch"]) == ("s1", 7)
    assert status["nodes"] == {"alive": 1, "draining": 1}
    assert status["models"] == {"loaded": 1, "stored": 1}


@pytest.mark.parametrize("path", ["models/absent", "nodes/absent", "jobs/absent", "nothing"])
async def test_what_is_not_there_is_a_404(
    admin: httpx.AsyncClient, leader: ScriptedLeader, path: str
) -> None:
    answer = await admin.get(f"/admin/{path}")

    assert answer.status_code == 404
    assert path.rpartition("/")[2] in answer.json()["error"]["message"]


async def test_jobs_are_listed_shown_and_steered(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    id = (await admin.post("/admin/models/load", json={"model": M})).json()["id"]
    paused = await admin.post(f"/admin/jobs/{id}/pause")
    resumed = await admin.post(f"/admin/jobs/{id}/resume")
    cancelled = await admin.post(f"/admin/jobs/{id}/cancel")

    assert [paused.json()["wish"], resumed.json()["wish"]] == ["pause", "run"]
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert (await admin.get(f"/admin/jobs/{id}")).json() == cancelled.json()
    assert (await admin.get("/admin/jobs")).json()["jobs"] == [cancelled.json()]
    assert cancelled.json()["order"] == {"type": "load"} | cancelled.json()["order"]


async def events(answer: httpx.Response) -> list[Any]:
    lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_a_job_tells_its_states_until_it_is_over(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    id = (await admin.post("/admin/models/pull", json={"model": M})).json()["id"]
    async with admin.stream("GET", f"/admin/jobs/{id}/events") as answer:
        await leader.fetch(id, 400)
        await leader.fetch(id, 1000)
        await leader.tell(id, state="done", phase="done")
        told = await events(answer)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [(job["state"], [n["done_bytes"] for n in job["nodes"]]) for job in told] == [
        ("running", []),
        ("running", [400]),
        ("running", [1000]),
        ("done", [1000]),
    ]


async def test_the_end_is_found_when_its_event_was_lost(
    admin: httpx.AsyncClient, leader: ScriptedLeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SILENCE_S", 0.05)
    id = (await admin.post("/admin/models/pull", json={"model": M})).json()["id"]
    async with admin.stream("GET", f"/admin/jobs/{id}/events") as answer:
        lines = answer.aiter_lines()
        while await anext(lines) != ": waiting":
            pass
        leader.jobs[id] = replace(leader.jobs[id], state="failed", detail="in silence")
        rest = [line async for line in lines if line.startswith("data: ")]

    assert json.loads(rest[-1].removeprefix("data: "))["detail"] == "in silence"


async def test_nobody_leading_is_a_503_that_says_so(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_S", 0.3)

    answer = await admin.post("/admin/models/load", json={"model": M})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "no_leader"
    assert "odyssai scheduler" in answer.json()["error"]["message"]


async def test_a_leader_that_comes_in_time_is_found(
    admin: httpx.AsyncClient, nats_url: str
) -> None:
    asked = asyncio.create_task(admin.post("/admin/models/load", json={"model": M}))
    await asyncio.sleep(2 * asking.PAUSE_S)
    async with leading(nats_url):
        assert (await asked).status_code == 202


@pytest.mark.parametrize("path", ["/admin/models", "/admin/jobs", "/admin/nothing"])
async def test_no_page_of_another_origin_may_even_ask(
    admin: httpx.AsyncClient, leader: ScriptedLeader, path: str
) -> None:
    page = {"origin": "https://evil.example"}
    preflight = await admin.options(path, headers=page)
    answer = await admin.get(path, headers=page)

    for told in (preflight, answer):
        assert not [name for name in told.headers if name.startswith("access-control")]
    assert answer.status_code == (404 if path.endswith("nothing") else 403)


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_ADMIN_TOKEN", "mine")


@pytest.mark.usefixtures("with_token")
async def test_a_token_is_asked_for_once_there_is_one(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    refused = await admin.get("/admin/models")
    shown = await admin.get("/admin/models", headers={"authorization": "Bearer mine"})

    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert shown.status_code == 200


SAMPLES = {"{model}": "org/x", "{node}": "n", "{job}": "j"}


async def test_the_document_has_every_address_and_no_other(admin: httpx.AsyncClient) -> None:
    paths = (await admin.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        if not path.startswith("/admin/"):
            continue
        there = path
        for name, sample in SAMPLES.items():
            there = there.replace(name, sample)

        told = await admin.options(there)

        allowed = set(told.headers["allow"].split(", ")) - {"HEAD", "OPTIONS"}
        assert {method.upper() for method in methods} == allowed, path


async def test_the_contract_tells_where_models_are_loaded(admin: httpx.AsyncClient) -> None:
    told = (await admin.get("/.well-known/inference-engine.json")).json()["admin"]

    assert told["supports_pool_load_unload"] is True
    for name, path in told.items():
        if name.endswith("_endpoint"):
            assert (await admin.options(path)).status_code == 204


async def test_a_model_is_shown_under_a_name_of_the_configuration(
    admin: httpx.AsyncClient, leader: ScriptedLeader, bus: Bus
) -> None:
    layers = await open_layers(bus)
    layer = ConfigLayer(config=Config(aliases={"claude-sonnet*": ModelId("qwen")}))
    await change_layer(layers, "admin", lambda _: layer)
    try:
        async with asyncio.timeout(5):
            while (shown := await admin.get("/admin/models/claude-sonnet-4")).is_error:
                await asyncio.sleep(0.01)
    finally:
        await layers.delete("admin")

    assert shown.json()["model"] == M


async def test_how_a_model_could_be_served_is_asked_of_a_scheduler(
    admin: httpx.AsyncClient, leader: ScriptedLeader
) -> None:
    asked: list[Weigh] = []

    async def weigh(question: Weigh) -> Weighed:
        asked.append(question)
        return Weighed(model=question.model, choices=())

    await leader.bus.answer(WEIGH, weigh, group="scheduler")
    await leader.bus.settled()
    path = f"/admin/plan?model={M}&split=tensor&ranks=2&node=a&node=b&cluster=garage&context=8"
    answer = await admin.get(path)

    assert (answer.status_code, answer.json()["model"]) == (200, M)
    assert asked == [
        Weigh(model=M, way="tensor", ranks=2, nodes=("a", "b"), cluster="garage", context=8)
    ]


@pytest.mark.parametrize("query", ["", "?model=m&split=half", "?model=m&ranks=none"])
async def test_a_plan_that_makes_no_sense_is_refused(
    admin: httpx.AsyncClient, leader: ScriptedLeader, query: str
) -> None:
    assert (await admin.get(f"/admin/plan{query}")).status_code == 400
