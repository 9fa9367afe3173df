"""How several nodes come to serve one model together, look by look."""

from typing import Any

import pytest
from msgspec import structs

from proto.cluster import ClusterConfig, ClusterMember
from proto.config import Config, ModelConfig
from proto.group import Formation, RankBeat
from proto.jobs import Load
from proto.plan import Placement
from proto.store import CopyTask
from services.scheduler.jobs.load_group import MEET_S
from services.scheduler.jobs.load_part import LOST_S
from tests.unit.scheduler.large import fleet, group, large, loaded, ranks
from tests.unit.scheduler.paper import GB, Paper, placed, stored


def test_a_model_that_fits_on_no_node_is_shared_without_a_word() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))

    assert [(p.engine, p.source) for p in ranks(mesh)] == [
        (member.engine, f"/{member.node}/m") for member in group(mesh).members
    ]
    assert {p.fingerprint for p in ranks(mesh)} == {"f1"}
    assert [part.rank for part in job.nodes] == [0, 1]
    mesh.obey()
    job = mesh.look(job)
    assert job.state == "done"
    assert "together" in job.detail


def test_a_model_that_fits_on_one_node_is_shared_when_that_is_asked_for() -> None:
    mesh = fleet(wirable=20 * GB)
    job = loaded(mesh, way="pipeline", nodes=("b", "a"), ranks=2)

    assert job.state == "done"
    assert [member.node for member in group(mesh).members] == ["b", "a"]
    assert sum(member.layers for member in group(mesh).members) == 10


def test_ranks_are_told_the_links_of_their_cluster() -> None:
    mesh = fleet()
    members = (
        ClusterMember(node="a", address="10.0.0.1", rdma_to={"b": "en1"}),
        ClusterMember(node="b", address="10.0.0.2", rdma_to={"a": "en2"}),
    )
    mesh.config = Config(clusters={"garage": ClusterConfig(members=members, backend="jaccl")})
    mesh.submit(Load(model="m", cluster="garage"))

    found = group(mesh)
    assert (found.backend, found.cluster) == ("jaccl", "garage")
    assert [m.address for m in found.members] == ["10.0.0.1", "10.0.0.2"]
    assert [m.devices for m in found.members] == [("", "en1"), ("en2", "")]


@pytest.mark.parametrize(
    ("met", "told"),
    [("jaccl", "(tensor, jaccl)"), ("ring", "(tensor, ring, since jaccl could not bring")],
)
def test_it_is_told_by_which_backend_the_ranks_have_met(met: Any, told: str) -> None:
    mesh = fleet()
    members = (
        ClusterMember(node="a", rdma_to={"b": "en1"}),
        ClusterMember(node="b", rdma_to={"a": "en2"}),
    )
    mesh.config = Config(clusters={"garage": ClusterConfig(members=members, backend="jaccl")})
    job = mesh.submit(Load(model="m", cluster="garage", way="tensor"))
    formation = Formation(epoch="e", boots=("1", "2"), addresses=("a:1", "b:1"), backend=met)
    mesh.ranks = {
        p.engine: structs.replace(said(p, "ready"), formation=formation) for p in ranks(mesh)
    }
    mesh.obey()

    assert told in mesh.look(job).detail


def test_each_rank_reserves_its_part_alone() -> None:
    mesh = fleet()
    mesh.submit(Load(model="m", way="tensor"))

    assert [p.grant.weights_bytes for p in ranks(mesh)] == [6 * GB, 6 * GB]


def test_files_are_brought_to_every_rank_before_anything_is_placed() -> None:
    mesh = fleet()
    mesh.store("b")
    job = mesh.submit(Load(model="m", way="tensor"))

    assert ranks(mesh) == []
    (wanted,) = mesh.plan("b").tasks
    assert wanted.task == CopyTask(job="j1", model="m", source="a")
    mesh.work("b", "running", done_bytes=1, total_bytes=2)
    job = mesh.look(job)
    assert [part.rank for part in job.nodes] == [0, 1]
    mesh.work("b", "done")
    mesh.store("b", large("b"))
    mesh.look(job)

    assert len(ranks(mesh)) == 2


def test_what_no_node_has_yet_is_fetched_once_and_then_shared() -> None:
    mesh = Paper()
    job = mesh.submit(Load(model="org/m"))
    assert {node: len(tasks) for node, tasks in mesh.tasks().items()} == {"a": 1}
    mesh.work("a", "done")
    mesh.store("a", structs.replace(large("a"), id="org/m"))
    for node in mesh.nodes:
        mesh.nodes[node] = structs.replace(mesh.nodes[node], wirable_bytes=8 * GB)
    job = mesh.look(job)
    job = mesh.look(job)

    assert [part.rank for part in job.nodes] == [0, 1]
    assert "b" in mesh.tasks()


def test_it_is_done_when_every_rank_is_ready() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("loading")
    job = mesh.look(job)

    assert (job.state, job.phase) == ("running", "loading")
    mesh.obey()
    assert mesh.look(job).state == "done"


@pytest.mark.parametrize(
    ("phase", "shown"),
    [("gathering", "gathering"), ("connecting", "gathering"), ("verifying", "verifying")],
)
def test_how_far_ranks_are_is_told(phase: Any, shown: str) -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("starting")
    mesh.ranks = {p.engine: said(p, phase) for p in ranks(mesh)}

    assert [part.phase for part in mesh.look(job).nodes] == [shown, shown]


def said(placement: Placement, phase: Any) -> RankBeat:
    return RankBeat(
        engine=placement.engine, boot="b", pid=1, leader="l", rank=0, size=2, likeness="l",
        phase=phase, detail="waits for b",
    )  # fmt: skip


def test_ranks_that_do_not_find_together_are_given_up_and_leave_nothing() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("starting")
    mesh.ranks = {p.engine: said(p, "gathering") for p in ranks(mesh)}
    job = mesh.look(job)
    mesh.pass_time(MEET_S - 1)
    assert not mesh.look(job).is_over
    mesh.pass_time(2)
    job = mesh.look(job)

    assert job.state == "failed"
    assert "not found together within 120 s" in job.detail
    assert "waits for b" in job.detail
    assert ranks(mesh) == []


def test_a_rank_that_is_given_up_takes_all_along() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("loading")
    job = mesh.look(job)
    mesh.quarantine("b", "m", "its shards are torn")
    job = mesh.look(job)

    assert job.state == "failed"
    assert job.error
    assert job.error.code == "model_quarantined"
    assert "its shards are torn" in job.detail
    assert ranks(mesh) == []


def test_a_rank_that_is_refused_takes_all_along() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("refused", detail="other files")
    job = mesh.look(job)

    assert (job.state, "other files" in job.detail) == ("failed", True)
    assert ranks(mesh) == []


def test_a_node_that_falls_silent_meanwhile_is_waited_for_and_then_given_up() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.obey("loading")
    job = mesh.look(job)
    mesh.fall_silent("b")
    job = mesh.look(job)
    assert not job.is_over
    mesh.pass_time(LOST_S + 1)

    assert mesh.look(job).state == "failed"
    assert ranks(mesh) == []


def test_half_a_group_is_never_kept() -> None:
    """Another took the second rank's memory in the same moment."""
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.place("b", placed("e", "other", 8 * GB, is_pinned=True))
    job = mesh.look(job)
    mesh.look(job)

    assert ranks(mesh) == []


def test_others_make_room_on_every_node_that_needs_it() -> None:
    mesh = fleet()
    for node in ("a", "b"):
        mesh.place(node, placed(f"{node}.e", f"other-{node}", 6 * GB))
    mesh.pass_time(1)
    job = mesh.submit(Load(model="m", way="tensor"))

    assert [p.is_draining for node in ("a", "b") for p in mesh.plan(node).placements] == [True] * 2
    assert {part.phase for part in job.nodes} == {"making room"}
    for node in ("a", "b"):
        mesh.place(node)
    mesh.look(job)
    assert len(ranks(mesh)) == 2


def test_why_it_cannot_be_shared_either_is_told() -> None:
    mesh = fleet(wirable=4 * GB)
    job = mesh.submit(Load(model="m"))

    assert job.error
    assert job.error.code == "insufficient_memory"
    assert "m needs 11.8 GB" in job.detail
    assert "a has 4.0 GB for a part of 6." in job.detail


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"way": "tensor", "ranks": 3}, "not enough nodes"),
        ({"cluster": "none"}, "No cluster 'none'"),
        ({"ranks": 3, "nodes": ("a", "b")}, "3 ranks cannot be on 2 nodes"),
        ({"way": "tensor", "nodes": ("a", "z")}, "No node 'z' is heard"),
    ],
)
def test_what_cannot_be_is_refused_at_once(order: dict[str, Any], words: str) -> None:
    job = fleet().submit(Load(model="m", **order))

    assert job.state == "failed"
    assert words in job.detail


def test_a_group_that_is_there_is_loaded_already_and_in_no_other_way() -> None:
    mesh = fleet()
    loaded(mesh)
    again = mesh.submit(Load(model="m"), id="j2")
    other = mesh.submit(Load(model="m", way="solo"), id="j3")

    assert (again.state, again.detail) == ("done", "already loaded")
    assert other.state == "failed"
    assert "in another way: `odyssai unload m` first" in other.detail
    assert len(ranks(mesh)) == 2


def test_a_cancelled_load_leaves_no_rank() -> None:
    mesh = fleet()
    job = mesh.submit(Load(model="m"))
    mesh.jobs[job.id] = structs.replace(job, wish="cancel")
    mesh.look(job)

    assert ranks(mesh) == []


def test_a_configured_draft_is_left_out_of_a_group_and_that_is_said() -> None:
    mesh = fleet("a", "b")
    mesh.config = Config(models={"m": ModelConfig(draft="slim")})
    mesh.store("a", large("a"), stored("slim"))
    job = loaded(mesh, way="tensor")

    assert job.state == "done"
    assert {p.draft for p in ranks(mesh)} == {None}
    assert "without its draft slim" in job.detail
