"""Jobs on whole nodes: drain, undrain, restart, remove; and pins."""

from msgspec import structs

from proto.jobs import Drain, Job, Load, Pin, RemoveNode, Restart, Undrain
from services.scheduler.jobs.restart import BACK_S
from services.scheduler.jobs.step import Follow, Forget, RestartTheAgent
from tests.unit.scheduler.paper import GB, Paper, placed, stored


def test_a_drained_node_is_done_when_nothing_runs_there_in_two_heartbeats() -> None:
    mesh = Paper()
    mesh.place("a", placed("e", "m"))
    mesh.place("b", placed("f", "m"))
    job = mesh.submit(Drain(node="a"))
    assert mesh.plan("a").is_drained
    assert mesh.look(job).nodes[0].detail == "its agent has not heard yet"
    mesh.obey()
    mesh.hear("a", "e", running=2)
    assert mesh.look(job).nodes[0].detail == "2 requests still run"
    mesh.obey()
    assert mesh.look(job).phase == "quiet"
    mesh.pass_time(2.0)
    assert mesh.look(job).state == "done"
    assert mesh.models("a") == ["m"]


def test_what_only_the_drained_node_serves_is_loaded_elsewhere_first() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.store("b", stored("m"))
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(Drain(node="a"))
    order = Load(model="m", nodes=("b",), makes_room=False)

    assert mesh.last.acts == (Follow(order, "drain j1"),)
    assert not mesh.plan("a").is_drained
    mesh.submit(order, by="drain j1", id="j2")
    assert mesh.look(job).phase == "moving"
    mesh.obey()
    mesh.look(mesh.jobs["j2"])
    mesh.look(job)
    assert mesh.plan("a").is_drained


def test_what_fits_nowhere_else_does_not_keep_a_node_from_being_drained() -> None:
    mesh = Paper("a", "b", wirable=GB)
    mesh.store("a", stored("m"))
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(Drain(node="a"))

    assert mesh.plan("a").is_drained
    assert job.detail == "no other node has room for m"


def test_a_cancelled_drain_lets_the_node_serve_again() -> None:
    mesh = Paper()
    job = mesh.submit(Drain(node="a"))
    mesh.jobs["j1"] = structs.replace(job, wish="cancel")
    job = mesh.look(mesh.look(job))

    assert (job.state, mesh.plan("a").is_drained) == ("cancelled", False)


def test_undrain_is_done_at_once() -> None:
    mesh = Paper()
    mesh.plans["a"] = structs.replace(mesh.plan("a"), is_drained=True)

    assert mesh.submit(Undrain(node="a")).state == "done"
    assert not mesh.plan("a").is_drained


def test_a_node_that_is_not_heard_is_undrained_for_when_it_is_back() -> None:
    mesh = Paper()
    mesh.plans["a"] = structs.replace(mesh.plan("a"), is_drained=True)
    mesh.fall_silent("a")

    assert mesh.submit(Undrain(node="a")).state == "done"
    assert not mesh.plan("a").is_drained


def reborn(mesh: Paper, job: Job) -> Job:
    mesh.nodes["a"] = structs.replace(mesh.nodes["a"], boot="a-2")
    return mesh.look(job)


def test_an_agent_has_restarted_when_it_speaks_with_another_life() -> None:
    mesh = Paper("a")
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(Restart(node="a"))

    assert mesh.last.acts == (RestartTheAgent("a"),)
    assert mesh.look(job).state == "running"
    assert mesh.last.acts == ()
    reborn(mesh, job)
    assert mesh.look(job).state == "done"
    assert mesh.plan("a").placements[0].life == 0


def test_an_agent_that_does_not_come_back_is_the_job_s_failure() -> None:
    mesh = Paper("a")
    job = mesh.submit(Restart(node="a"))
    mesh.fall_silent("a")
    assert mesh.look(job).state == "running"
    mesh.pass_time(BACK_S)
    assert mesh.look(job).state == "failed"


def test_engines_are_started_anew_one_after_the_other() -> None:
    mesh = Paper("a")
    mesh.place("a", placed("e", "m"), placed("f", "n"))
    job = reborn(mesh, mesh.submit(Restart(node="a", engines=True)))
    lives = []
    for _ in range(12):
        if job.is_over:
            break
        job = mesh.look(job)
        lives.append(tuple(p.life for p in mesh.plan("a").placements))
        mesh.obey("loading")
        job = mesh.look(job)
        mesh.obey()

    assert job.state == "done"
    assert list(dict.fromkeys(lives)) == [(1, 0), (1, 1)]


def test_a_removed_node_is_emptied_and_then_forgotten() -> None:
    mesh = Paper()
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(RemoveNode(node="a"))
    assert mesh.plan("a").is_drained
    for _ in range(4):
        mesh.obey()
        mesh.sweep()
        mesh.pass_time(1.0)
        job = mesh.look(job) if not job.is_over else job

    assert (job.state, mesh.models("a")) == ("done", [])
    assert mesh.last.acts == (Forget("a"),)


def test_a_node_that_is_gone_for_good_is_forgotten_at_once() -> None:
    mesh = Paper()
    mesh.place("a", placed("e", "m"))
    mesh.fall_silent("a")
    job = mesh.submit(RemoveNode(node="a"))
    job = mesh.look(job)

    assert (job.state, mesh.last.acts) == ("done", (Forget("a"),))


def test_a_node_that_nobody_knows_is_refused_by_name() -> None:
    for order in (RemoveNode(node="z"), Drain(node="z"), Restart(node="z"), Undrain(node="z")):
        job = Paper("a").submit(order)

        assert job.error
        assert "'z'" in job.error.message


def test_a_pin_holds_on_every_node() -> None:
    mesh = Paper()
    mesh.place("a", placed("e", "m"))
    mesh.place("b", placed("f", "m"))

    assert mesh.submit(Pin(model="m")).detail == "pinned on a, b"
    assert all(p.is_pinned for node in "ab" for p in mesh.plan(node).placements)
    mesh.submit(Pin(model="m", is_pinned=False), id="j2")
    assert not any(p.is_pinned for node in "ab" for p in mesh.plan(node).placements)


def test_what_is_not_loaded_cannot_be_pinned() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Pin(model="m"))

    assert job.error
    assert "--pin" in job.error.message
