"""Jobs on model files: pull, sync, convert, remove."""

import pytest
from msgspec import structs

from proto.jobs import Convert, Pull, Remove, Sync
from proto.store import ConvertTask, CopyTask, DeleteTask, PullTask
from services.scheduler.jobs.files import LISTED_S
from services.scheduler.leading.steering import steered
from tests.unit.scheduler.paper import GB, Paper, placed, stored


def only_task(mesh: Paper, node: str) -> object:
    (wanted,) = mesh.plan(node).tasks
    return wanted.task


def test_a_pull_goes_to_the_node_with_the_most_free_disk() -> None:
    mesh = Paper()
    mesh.stores["b"] = structs.replace(mesh.stores["b"], free_disk_bytes=200 * GB)
    mesh.submit(Pull(model="org/m", revision="v2"))

    assert only_task(mesh, "b") == PullTask(job="j1", model="org/m", revision="v2")
    assert "a" not in mesh.plans


def test_a_pull_is_done_when_every_node_is() -> None:
    mesh = Paper()
    job = mesh.submit(Pull(model="org/m", nodes=("a", "b")))
    mesh.work("a", "done")
    mesh.work("b", "running", step="model.safetensors", done_bytes=1, total_bytes=4)
    job = mesh.look(job)
    assert [(p.phase, p.done_bytes) for p in job.nodes] == [("listing", 0), ("running", 1)]
    mesh.work("b", "done")
    mesh.store("a", stored("org/m"))
    assert [p.phase for p in mesh.look(job).nodes] == ["done", "listing"]
    mesh.store("b", stored("org/m"))
    job = mesh.look(job)
    assert (job.state, job.detail) == ("done", "org/m is on a, b")


def test_what_a_node_never_lists_is_not_waited_for_for_ever() -> None:
    mesh = Paper("a")
    job = mesh.submit(Pull(model="org/m"))
    mesh.work("a", "done")
    assert mesh.look(job).nodes[0].phase == "listing"
    mesh.pass_time(LISTED_S + 1)
    assert mesh.look(job).state == "done"


def test_a_paused_pull_shows_what_its_node_says() -> None:
    mesh = Paper("a")
    job = mesh.submit(Pull(model="org/m"))
    mesh.jobs["j1"] = structs.replace(job, wish="pause")
    mesh.look(job)
    mesh.work("a", "paused", done_bytes=1, total_bytes=2)
    job = mesh.look(job)

    assert (job.state, job.nodes[0].phase, job.nodes[0].done_bytes) == ("paused", "paused", 1)


def test_a_failure_on_one_node_waits_for_the_others_and_names_its_node() -> None:
    mesh = Paper()
    job = mesh.submit(Pull(model="org/m", nodes=("a", "b")))
    mesh.work("a", "failed", code="insufficient_disk", error="too little room")
    mesh.work("b", "running")
    job = mesh.look(job)
    assert job.state == "running"
    mesh.work("b", "done")
    mesh.store("b", stored("org/m"))
    job = mesh.look(job)

    assert job.error
    assert (job.error.code, job.error.message) == ("insufficient_disk", "a: too little room")


def test_a_failed_pull_is_tried_again_once_the_node_has_forgotten_the_first_try() -> None:
    mesh = Paper("a")
    job = mesh.submit(Pull(model="org/m"))
    mesh.work("a", "failed", code="upstream_error", error="the hub is away")
    failed = mesh.look(job)
    mesh.sweep()
    mesh.jobs["j1"] = steered(failed, "run")
    job = mesh.look(job)
    assert (job.state, mesh.tasks()) == ("running", {})
    mesh.work("a", "running")  # Of a plan without tasks it says nothing.
    mesh.look(job)
    assert mesh.tasks() == {"a": [("PullTask", "run")]}


def test_tasks_of_a_job_that_is_over_are_told_to_end() -> None:
    mesh = Paper()
    job = mesh.submit(Pull(model="org/m", nodes=("a", "b")))
    mesh.work("a", "running")
    mesh.jobs["j1"] = structs.replace(job, state="failed")
    mesh.sweep()

    assert mesh.tasks() == {"a": [("PullTask", "cancel")], "b": [("PullTask", "cancel")]}


def test_a_sync_copies_to_every_node_with_other_files() -> None:
    mesh = Paper("a", "b", "c")
    mesh.store("a", stored("m", "f1"))
    mesh.store("b", stored("m", "f1"))
    mesh.submit(Sync(model="m"))

    assert only_task(mesh, "c") == CopyTask(job="j1", model="m", source="a")
    assert sorted(mesh.plans) == ["c"]


def test_a_sync_of_nodes_that_disagree_needs_to_be_told_whose_files_count() -> None:
    mesh = Paper("a", "b")
    mesh.store("a", stored("m", "f1"))
    mesh.store("b", stored("m", "f2"))
    refused = mesh.submit(Sync(model="m"))
    mesh.submit(Sync(model="m", source="b"), id="j2")

    assert refused.error
    assert refused.error.code == "conflict"
    assert "--from" in refused.error.message
    assert only_task(mesh, "a") == CopyTask(job="j2", model="m", source="b")


def test_a_sync_that_finds_nothing_to_do_is_done() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))

    assert mesh.submit(Sync(model="m")).state == "done"


def test_a_sync_from_a_node_that_lacks_it_is_refused() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    job = mesh.submit(Sync(model="m", source="b"))

    assert job.error
    assert "these do: a" in job.error.message


def test_a_conversion_names_its_result_after_its_form() -> None:
    mesh = Paper()
    mesh.store("b", stored("org/m"))
    mesh.submit(Convert(model="org/m", bits=4))

    assert only_task(mesh, "b") == ConvertTask(job="j1", model="org/m", name="m-4bit", bits=4)


@pytest.mark.parametrize("order", [Convert(model="m"), Convert(model="m", bits=4, node="b")])
def test_a_conversion_into_nothing_or_where_the_model_is_not_is_refused(order: Convert) -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))

    assert mesh.submit(order).error


def test_a_conversion_does_not_overwrite_a_model() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"), stored("m-4bit"))
    job = mesh.submit(Convert(model="m", bits=4))

    assert job.error
    assert job.error.code == "conflict"


def test_files_are_deleted_wherever_they_are() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.store("b", stored("m"))
    job = mesh.submit(Remove(model="m"))
    assert only_task(mesh, "b") == DeleteTask(job="j1", model="m")
    for node in ("a", "b"):
        mesh.work(node, "done")
    assert {p.phase for p in mesh.look(job).nodes} == {"listing"}
    for node in ("a", "b"):
        mesh.store(node)

    assert mesh.look(job).state == "done"


def test_files_of_a_loaded_model_stay() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(Remove(model="m"))

    assert job.error
    assert job.error.code == "conflict"
    assert "odyssai unload m" in job.error.message
    assert mesh.tasks() == {}


def test_a_node_that_falls_silent_goes_on_when_it_is_back() -> None:
    mesh = Paper("a")
    job = mesh.submit(Pull(model="org/m"))
    beat = mesh.nodes["a"]
    mesh.fall_silent("a")
    job = mesh.look(job)
    assert (job.state, job.nodes[0].phase) == ("running", "silent")
    mesh.nodes["a"] = beat
    mesh.work("a", "done")
    mesh.store("a", stored("org/m"))
    assert mesh.look(job).state == "done"
