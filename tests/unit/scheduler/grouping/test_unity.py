"""A group is one engine: it is unloaded, drained, evicted and lost as one."""

import pytest
from msgspec import structs

from proto.errors import MeshError
from proto.jobs import Drain, Job, Load, RemoveNode, Restart, Unload
from proto.overview import LookAround
from services.scheduler.demand.absent import waits_for
from services.scheduler.demand.idle import overdue
from services.scheduler.demand.room import Claim, make_room
from services.scheduler.grouping.rescue import PATIENCE_S, REGROUPING, Rescue
from services.scheduler.jobs.step import Follow
from services.scheduler.overview import look_around
from tests.unit.scheduler.large import fleet, group, loaded, ranks
from tests.unit.scheduler.paper import GB, Paper, placed


def serving(*nodes: str, wirable: int = 8 * GB) -> Paper:
    mesh = fleet(*nodes, wirable=wirable)
    assert loaded(mesh, nodes=("a", "b"), ranks=2).state == "done"
    return mesh


def leave(mesh: Paper) -> None:
    """Whatever drains is gone, as soon as it may be."""
    for _ in range(4):
        mesh.sweep()
        mesh.obey()
        mesh.pass_time(2)


def test_to_unload_it_from_one_node_unloads_all_of_it() -> None:
    mesh = serving()
    job = mesh.submit(Unload(model="m", nodes=("b",)), id="j2")
    assert [p.is_draining for p in ranks(mesh)] == [True, True]
    leave(mesh)
    mesh.engines.clear()

    assert mesh.look(job).state == "done"
    assert ranks(mesh) == []


def test_no_rank_leaves_while_the_leader_is_at_work() -> None:
    mesh = serving()
    mesh.submit(Unload(model="m"), id="j2")
    mesh.obey()
    mesh.hear("a", group(mesh).leader, running=1)
    for _ in range(3):
        mesh.pass_time(2)
        mesh.sweep()
    assert len(ranks(mesh)) == 2
    mesh.hear("a", group(mesh).leader)
    for _ in range(2):
        mesh.sweep()
        mesh.pass_time(2)

    assert ranks(mesh) == []


def test_one_that_has_to_make_room_takes_all_along() -> None:
    mesh = serving()
    claim = Claim("other", "operator", mesh.now_s + 1)
    room = make_room(mesh.view, "b", 5 * GB, claim)
    plan = mesh.plan("b")
    drained = tuple(structs.replace(p, is_draining=True) for p in plan.placements)
    assert room.evict == tuple(p.engine for p in plan.placements)
    mesh.plans["b"] = structs.replace(plan, placements=drained)
    mesh.sweep()

    assert [p.is_draining for p in ranks(mesh)] == [True, True]


def test_a_rank_is_as_busy_as_its_leader() -> None:
    mesh = serving()
    mesh.hear("a", group(mesh).leader, running=1)
    mesh.place("b", *mesh.plan("b").placements)
    mesh.hear("a", group(mesh).leader, running=1, idle_s=0.0)
    mesh.hear("b", group(mesh).members[1].engine, idle_s=9999.0)
    for node in ("a", "b"):
        plan = mesh.plan(node)
        short = tuple(structs.replace(p, idle_ttl_s=10.0) for p in plan.placements)
        mesh.plans[node] = structs.replace(plan, placements=short)

    assert overdue(mesh.view) == []
    mesh.hear("a", group(mesh).leader, idle_s=11.0)
    assert overdue(mesh.view) == [Unload(model="m", nodes=("a",))]


def test_what_an_agent_gives_up_leaves_no_rank_elsewhere() -> None:
    mesh = serving()
    mesh.quarantine("b", "m")
    mesh.sweep()

    assert ranks(mesh) == []


def test_a_removed_node_takes_the_group_along() -> None:
    mesh = serving()
    mesh.submit(RemoveNode(node="b"), id="j2")
    assert mesh.last.acts == ()
    leave(mesh)

    assert ranks(mesh) == []


def test_a_group_goes_on_without_a_removed_node_where_it_fits() -> None:
    mesh = serving("a", "b", "c")
    job = mesh.submit(RemoveNode(node="b"), id="j2")
    (follow,) = mesh.last.acts
    assert follow.order == Load(model="m", makes_room=False)  # type: ignore[union-attr]
    again = mesh.submit(follow.order, by=REGROUPING, id="j3")  # type: ignore[union-attr]
    leave(mesh)
    mesh.look(again)

    assert [m.node for m in group(mesh).members] == ["a", "c"]
    mesh.look(job)
    assert not any(isinstance(act, Follow) for act in mesh.last.acts)


def test_a_drained_node_leaves_a_group_that_is_formed_anew_on_others() -> None:
    mesh = serving("a", "b", "c")
    job = mesh.submit(Drain(node="b"), id="j2")
    (follow,) = mesh.last.acts
    assert follow.order == Load(model="m", makes_room=False)  # type: ignore[union-attr]
    assert follow.by == REGROUPING  # type: ignore[union-attr]
    again = mesh.submit(follow.order, by=REGROUPING, id="j3")  # type: ignore[union-attr]
    assert again.phase == "draining"
    leave(mesh)
    again = mesh.look(again)

    assert [m.node for m in group(mesh).members] == ["a", "c"]
    assert mesh.look(job).state == "running"


def test_a_drained_node_is_told_of_a_group_that_fits_nowhere_else() -> None:
    mesh = serving()
    job = mesh.submit(Drain(node="b"), id="j2")

    assert "no other node has room for m" in job.detail
    assert mesh.last.acts == ()
    mesh.sweep()
    assert [p.is_draining for p in ranks(mesh)] == [True, True]


def lose(mesh: Paper, rescue: Rescue, node: str = "b") -> list[Load]:
    """The survivors' ranks end, and gather in vain."""
    mesh.fall_silent(node)
    mesh.obey("starting")
    rescue.look(mesh.view)
    mesh.pass_time(PATIENCE_S)
    return rescue.look(mesh.view)


def test_a_group_that_lost_a_node_is_formed_anew_on_what_is_left() -> None:
    mesh, rescue = serving("a", "b", "c"), Rescue()
    (order,) = lose(mesh, rescue)
    job = mesh.submit(order, by=REGROUPING, id="j2")

    assert (job.phase, job.detail) == ("taking apart", "without b")
    job = mesh.look(job)
    mesh.look(job)
    assert [m.node for m in group(mesh).members] == ["a", "c"]
    assert mesh.plan("b").placements == ()


def test_alone_if_that_is_enough() -> None:
    mesh, rescue = serving("a", "b", wirable=20 * GB), Rescue()
    (order,) = lose(mesh, rescue)
    job = mesh.submit(order, by=REGROUPING, id="j2")
    job = mesh.look(job)
    mesh.obey()
    job = mesh.look(job)

    assert job.state == "done"
    assert [(p.engine.split(".")[0], p.group) for p in ranks(mesh)] == [("a", None)]


def test_one_that_fits_on_nothing_that_is_left_waits_for_its_node_and_says_so() -> None:
    mesh, rescue = serving(), Rescue()

    assert lose(mesh, rescue) == []
    assert len([p for p in mesh.plan("b").placements if p.model == "m"]) == 1
    with pytest.raises(MeshError, match="b is not heard; a alone has no room for it"):
        waits_for("m", mesh.view)


def test_a_group_that_serves_is_left_alone_while_an_agent_starts_anew() -> None:
    mesh, rescue = serving("a", "b", "c"), Rescue()
    mesh.nodes.pop("b")
    rescue.look(mesh.view)
    mesh.pass_time(PATIENCE_S)

    assert rescue.look(mesh.view) == []


def test_a_node_may_come_back_in_time() -> None:
    mesh, rescue = serving("a", "b", "c"), Rescue()
    beat = mesh.nodes["b"]
    mesh.fall_silent("b")
    mesh.obey("starting")
    assert rescue.look(mesh.view) == []
    mesh.nodes["b"] = beat
    mesh.pass_time(PATIENCE_S)
    assert rescue.look(mesh.view) == []
    mesh.fall_silent("b")

    assert rescue.look(mesh.view) == []


def test_what_was_asked_of_a_group_holds_for_the_one_that_follows_it() -> None:
    mesh, rescue = fleet("a", "b", "c"), Rescue()
    assert loaded(mesh, nodes=("a", "b"), ranks=2, context=2048, batch=1).state == "done"
    (order,) = lose(mesh, rescue)
    assert (order.context, order.batch) == (2048, 1)
    job = mesh.submit(order, by=REGROUPING, id="j2")
    job = mesh.look(mesh.look(job))

    assert [m.node for m in group(mesh).members] == ["a", "c"]
    assert {(p.grant.context, p.grant.kv_tokens) for p in ranks(mesh)} == {(2048, 2048)}
    mesh.obey()
    mesh.look(job)
    assert lose(mesh, rescue, "c") == []  # a alone has no room.


@pytest.mark.parametrize(
    ("asked", "is_formed"), [({}, True), ({"context": 8192, "batch": 128}, False)]
)
def test_a_group_waits_for_its_node_rather_than_be_smaller_than_was_asked_for(
    asked: dict[str, int], is_formed: bool
) -> None:
    mesh, rescue = fleet("a", "b", "c"), Rescue()
    assert loaded(mesh, nodes=("a", "b"), ranks=2, **asked).state == "done"
    mesh.place("c", placed("e", "other", 14 * GB // 10, is_pinned=True))
    mesh.obey()

    assert bool(lose(mesh, rescue)) == is_formed


def test_the_same_order_finds_a_group_as_it_was_asked_for() -> None:
    mesh = fleet()
    loaded(mesh, context=2048, batch=1)

    assert mesh.submit(Load(model="m", context=2048, batch=1), id="j2").state == "done"
    other = mesh.submit(Load(model="m", context=4096), id="j3")
    assert "in another way" in other.detail


def lives(mesh: Paper) -> list[int]:
    return [p.life for p in ranks(mesh)]


def reborn(mesh: Paper, job: Job) -> Job:
    """The agent of a has started anew."""
    mesh.nodes["a"] = structs.replace(mesh.nodes["a"], boot="a-2")
    return mesh.look(job)


def test_a_restart_of_a_node_s_engines_restarts_a_group_as_one() -> None:
    mesh = serving()
    job = reborn(mesh, mesh.submit(Restart(node="a", engines=True), id="j2"))
    job = mesh.look(job)
    assert lives(mesh) == [1, 1]
    mesh.obey("loading")
    job = mesh.look(job)
    assert (job.state, lives(mesh)) == ("running", [1, 1])
    mesh.obey()
    job = mesh.look(mesh.look(job))

    assert (job.state, lives(mesh)) == ("done", [1, 1])


def test_it_is_not_over_while_a_rank_on_another_node_is_not_back() -> None:
    mesh = serving()
    job = mesh.look(reborn(mesh, mesh.submit(Restart(node="a", engines=True), id="j2")))
    mesh.obey()
    late = mesh.nodes["b"]
    lame = tuple(structs.replace(s, phase="starting") for s in late.engines)
    mesh.nodes["b"] = structs.replace(late, engines=lame)
    for _ in range(3):
        job = mesh.look(job)
    assert not job.is_over
    mesh.nodes["b"] = late

    assert mesh.look(mesh.look(job)).state == "done"


def test_a_restart_that_reached_one_rank_alone_is_finished_by_who_leads_next() -> None:
    mesh = serving()
    job = reborn(mesh, mesh.submit(Restart(node="a", engines=True), id="j2"))
    plan = mesh.plan("a")
    begun = tuple(structs.replace(p, life=1) for p in plan.placements)
    mesh.plans["a"] = structs.replace(plan, placements=begun)
    mesh.look(job)

    assert lives(mesh) == [1, 1]


def test_ranks_are_shown_as_what_they_are() -> None:
    mesh = serving()
    seen = look_around(LookAround(), mesh.view, "s", 1)
    (model,) = seen.models

    assert model.state == "loaded"
    assert [(e.node, e.rank) for e in model.engines] == [("a", 0), ("b", 1)]
    assert all(e.group == group(mesh) for e in model.engines)


def test_a_group_without_its_leader_is_not_loaded() -> None:
    mesh = serving()
    beat = mesh.nodes["a"]
    lame = tuple(structs.replace(s, phase="crashed") for s in beat.engines)
    mesh.nodes["a"] = structs.replace(beat, engines=lame)
    (model,) = look_around(LookAround(), mesh.view, "s", 1).models

    assert model.state == "loading"
