"""How an unload goes."""

from msgspec import structs

from proto.jobs import Job, Unload
from tests.unit.scheduler.paper import Paper, placed, stored


def mesh_with_m() -> Paper:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.place("a", placed("e", "m"))
    return mesh


def swept(mesh: Paper, job: Job) -> Job:
    """As long as two heartbeats take and more."""
    for _ in range(4):
        mesh.obey()
        mesh.sweep()
        job = mesh.look(job)
        mesh.pass_time(1.0)
    return job


def test_it_is_done_when_the_plan_the_agent_and_the_engine_have_let_go() -> None:
    mesh = mesh_with_m()
    job = mesh.submit(Unload(model="m"))

    assert [p.is_draining for p in mesh.plan("a").placements] == [True]
    mesh.obey()
    mesh.sweep()
    mesh.pass_time(2.0)
    mesh.sweep()
    assert mesh.models("a") == []
    assert mesh.look(job).state == "running"  # Its agent still speaks of it.
    mesh.obey()
    job = mesh.look(job)
    assert (job.state, job.detail) == ("done", "unloaded from a")


def test_what_runs_may_finish() -> None:
    mesh = mesh_with_m()
    job = mesh.submit(Unload(model="m"))
    for _ in range(5):
        mesh.obey()
        mesh.hear("a", "e", running=1)
        mesh.sweep()
        job = mesh.look(job)
        mesh.pass_time(1.0)

    assert (job.state, mesh.models("a")) == ("running", ["m"])
    assert swept(mesh, job).state == "done"


def test_by_force_it_is_removed_at_once() -> None:
    mesh = mesh_with_m()
    mesh.hear("a", "e", running=1)
    mesh.submit(Unload(model="m", is_forced=True))

    assert mesh.models("a") == []


def test_only_the_named_node_lets_go() -> None:
    mesh = mesh_with_m()
    mesh.place("b", placed("f", "m"))
    job = swept(mesh, mesh.submit(Unload(model="m", nodes=("b",))))

    assert (job.detail, mesh.models("a"), mesh.models("b")) == ("unloaded from b", ["m"], [])


def test_what_is_not_loaded_is_done() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))

    assert mesh.submit(Unload(model="m")).detail == "it was not loaded"


def test_a_name_that_means_nothing_is_refused() -> None:
    job = Paper().submit(Unload(model="m"))

    assert job.error
    assert job.error.code == "model_not_found"


def test_cancelled_it_leaves_the_model_as_it_was() -> None:
    mesh = mesh_with_m()
    job = mesh.submit(Unload(model="m"))
    mesh.jobs["j1"] = structs.replace(job, wish="cancel")
    job = mesh.look(mesh.look(job))

    assert job.state == "cancelled"
    assert mesh.plan("a").placements == (placed("e", "m"),)


def test_on_a_node_that_is_not_heard_the_plan_is_enough() -> None:
    mesh = mesh_with_m()
    mesh.fall_silent("a")
    job = mesh.submit(Unload(model="m"))
    for _ in range(4):
        mesh.sweep()
        job = mesh.look(job)
        mesh.pass_time(1.0)

    assert (job.state, mesh.models("a")) == ("done", [])
