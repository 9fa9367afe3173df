"""The mesh at one look."""

from msgspec import structs

from proto.jobs import Job, Pull
from proto.overview import LookAround, ModelView, Overview
from proto.presence import EngineStatus, ModelCard
from services.scheduler.overview import look_around
from tests.unit.scheduler.paper import GB, Paper, placed, stored


def look(mesh: Paper, **asked: object) -> Overview:
    return look_around(LookAround(**asked), mesh.view, "s1", 7)


def model(mesh: Paper, name: str) -> ModelView:
    (found,) = [m for m in look(mesh).models if m.model == name]
    return found


def test_it_says_who_leads() -> None:
    seen = look(Paper())

    assert (seen.leader, seen.epoch) == ("s1", 7)


def test_a_node_s_memory_is_its_ledger() -> None:
    mesh = Paper("a", wirable=3 * GB)
    mesh.place("a", placed("e", "m", GB))
    mesh.hear("a", "e", memory_bytes=GB // 2)
    (node,) = look(mesh).nodes

    assert (node.memory.wirable, node.memory.reserved) == (3 * GB, GB)
    assert (node.memory.measured, node.memory.free) == (GB // 2, 2 * GB)


def test_a_node_that_is_not_heard_is_listed_as_silent() -> None:
    mesh = Paper("a", "b")
    mesh.place("a", placed("e", "m"))
    mesh.fall_silent("a")
    mesh.plans["b"] = structs.replace(mesh.plan("b"), is_drained=True)

    assert [(n.node, n.state) for n in look(mesh).nodes] == [("a", "silent"), ("b", "draining")]


def test_a_model_s_state_is_the_best_that_can_be_said_of_it() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    assert model(mesh, "m").state == "stored"
    mesh.plans["a"] = structs.replace(mesh.plan("a"), placements=(placed("e", "m"),))
    mesh.obey("loading")
    assert model(mesh, "m").state == "loading"
    mesh.obey()
    assert model(mesh, "m").state == "loaded"
    mesh.quarantine("a", "m")
    mesh.obey()
    assert model(mesh, "m").state == "quarantined"


def test_an_engine_of_no_plan_is_an_upstream_or_somebody_s_own() -> None:
    mesh = Paper()
    card = ModelCard(id="gpt", context_length=8)
    mesh.hear("cloud", "up", models=(card,), upstream="https://x")
    mesh.hear("a", "own", models=(ModelCard(id="mine", context_length=8),))

    assert model(mesh, "gpt").state == "upstream"
    assert model(mesh, "mine").state == "loaded"


def test_what_an_agent_was_started_with_and_cannot_place_is_listed_with_the_reason() -> None:
    mesh = Paper("a")
    mesh.place("a", placed("e", "m"))
    mesh.nodes["a"] = structs.replace(
        mesh.nodes["a"],
        engines=(
            EngineStatus(engine="f", model="large", phase="refused", detail="does not fit"),
            EngineStatus(engine="g", model="gone", phase="stopping"),
            EngineStatus(engine="e", model="m", phase="refused"),
        ),
    )
    (node,) = look(mesh).nodes

    assert [(e.engine, e.detail) for e in node.engines] == [("e", ""), ("f", "does not fit")]
    assert node.engines[1].origin == "flag"
    assert [m.model for m in look(mesh).models] == ["m"]


def test_different_files_under_one_name_are_told() -> None:
    mesh = Paper()
    mesh.store("a", stored("m", "f1"))
    mesh.store("b", stored("m", "f2"))

    assert not model(mesh, "m").is_same_everywhere


def job(id: str, created_s: float, ended_s: float | None = None) -> Job:
    state = "done" if ended_s else "running"
    return Job(
        id=id, order=Pull(model="m"), state=state, created_s=created_s, updated_s=created_s,
        ended_s=ended_s,
    )  # fmt: skip


def test_jobs_come_newest_first_and_old_ones_only_on_request() -> None:
    mesh = Paper()
    mesh.jobs = {j.id: j for j in (job("old", 1, 2.0), job("new", 3, 9.0), job("going", 2))}

    assert [j.id for j in look(mesh).jobs] == ["new", "going", "old"]
    assert [j.id for j in look(mesh, jobs_since_s=5.0).jobs] == ["new", "going"]
    assert [j.id for j in look(mesh, job="old").jobs] == ["old"]
