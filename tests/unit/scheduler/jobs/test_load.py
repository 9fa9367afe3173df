"""How a load goes, look by look."""

import re
from dataclasses import replace

import pytest
from msgspec import structs

from proto.config import Config, ModelConfig
from proto.jobs import Job, Load, Remove
from proto.plan import Draft
from proto.store import CopyTask, PullTask
from services.scheduler.jobs.advance import advance
from services.scheduler.jobs.load_part import LOST_S
from tests.unit.scheduler.paper import GB, SMALL, Paper, placed, stored


def loaded(mesh: Paper, order: Load, **fields: str) -> Job:
    """Until it is over, with agents that start whatever is placed."""
    job = mesh.submit(order, **fields)
    for _ in range(6):
        if job.is_over:
            break
        mesh.obey()
        job = mesh.look(job)
    return job


def test_a_stored_model_is_placed_and_the_job_waits_until_it_serves() -> None:
    mesh = Paper()
    mesh.store("b", stored("m"))
    job = mesh.submit(Load(model="m"))

    assert mesh.models("b") == ["m"]
    assert mesh.models("a") == []
    mesh.obey("loading", detail="40 %")
    job = mesh.look(job)
    assert (job.state, job.phase, job.nodes[0].detail) == ("running", "loading", "40 %")
    mesh.obey()
    job = mesh.look(job)
    assert (job.state, job.detail) == ("done", "loaded on b with 4 × 8192 tokens in 1.4 GB")


def test_a_placement_says_what_the_order_and_the_configuration_say() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m", aliases=("short",)))
    mesh.config = Config(models={"short": ModelConfig(context=2048, batch=2, slots=3)})
    loaded(mesh, Load(model="short", batch=1, is_pinned=True, idle_ttl_s=60.0))
    (found,) = mesh.plan("a").placements

    assert (found.grant.context, found.grant.kv_tokens, found.slots) == (2048, 2048, 3)
    assert (found.is_pinned, found.idle_ttl_s, found.origin) == (True, 60.0, "operator")
    assert (found.model, found.fingerprint, found.job) == ("m", "f1", "j1")


def test_an_alias_of_the_configuration_is_a_name() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    mesh.config = Config(aliases={"big-*": "m"})

    assert loaded(mesh, Load(model="big-one")).state == "done"


def test_a_loaded_model_is_done_at_once() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.place("a", placed("e", "m"))
    job = mesh.submit(Load(model="m"))

    assert (job.state, job.detail) == ("done", "already loaded")
    assert mesh.plan("a").placements == (placed("e", "m"),)


def test_a_loaded_model_with_other_sizes_begins_a_new_life() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    loaded(mesh, Load(model="m"))
    job = mesh.submit(Load(model="m", context=2048, batch=1), id="j2")
    (found,) = mesh.plan("a").placements

    assert (found.life, found.grant.context) == (1, 2048)
    assert mesh.look(job).state == "running"
    mesh.obey()
    assert mesh.look(job).state == "done"
    assert mesh.submit(Load(model="m", context=2048, batch=1), id="j3").detail == "already loaded"


def test_replicas_go_to_nodes_of_their_own() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.store("b", stored("m"))
    job = loaded(mesh, Load(model="m", replicas=2))

    assert job.state == "done"
    assert (mesh.models("a"), mesh.models("b")) == (["m"], ["m"])


def test_one_more_replica_leaves_the_first_alone() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.store("b", stored("m"))
    loaded(mesh, Load(model="m"))
    loaded(mesh, Load(model="m", replicas=2), id="j2")

    assert [p.job for node in "ab" for p in mesh.plan(node).placements] == ["j1", "j2"]


def test_more_replicas_than_fit_are_refused() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m", replicas=2))

    assert job.error
    assert (job.error.code, mesh.models("a")) == ("insufficient_memory", [])


def test_a_model_that_is_nowhere_is_fetched_from_the_hub_then_placed() -> None:
    mesh = Paper("a")
    job = mesh.submit(Load(model="org/m"))
    (wanted,) = mesh.plan("a").tasks

    assert wanted.task == PullTask(job="j1", model="org/m")
    mesh.work("a", "running", done_bytes=3, total_bytes=8)
    job = mesh.look(job)
    assert (job.nodes[0].phase, job.nodes[0].done_bytes) == ("fetching", 3)
    mesh.work("a", "done")
    mesh.store("a", stored("org/m"))
    job = mesh.look(job)
    mesh.obey()
    mesh.work("a", "done")
    assert mesh.look(job).state == "done"
    mesh.sweep()
    assert mesh.tasks() == {}


def test_a_model_that_a_peer_has_is_copied_from_it() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.submit(Load(model="m", nodes=("b",)))
    (wanted,) = mesh.plan("b").tasks

    assert wanted.task == CopyTask(job="j1", model="m", source="a")


def test_a_model_that_is_nowhere_is_not_fetched_unasked() -> None:
    mesh = Paper()
    job = mesh.submit(Load(model="org/m", fetches=False))

    assert job.error
    assert job.error.code == "model_not_found"
    assert "odyssai pull org/m" in job.error.message


def test_a_failed_fetch_is_the_job_s_failure() -> None:
    mesh = Paper("a")
    job = mesh.submit(Load(model="org/m"))
    mesh.work("a", "failed", code="insufficient_disk", error="8 GB needed, 2 GB free.")
    job = mesh.look(job)

    assert job.error
    assert (job.error.code, job.error.message) == ("insufficient_disk", "8 GB needed, 2 GB free.")


def test_different_files_on_two_nodes_are_refused_before_anything_is_loaded() -> None:
    mesh = Paper()
    mesh.store("a", stored("m", "f1", revision="r1"))
    mesh.store("b", stored("m", "f2", revision="r2"))
    job = mesh.submit(Load(model="m", nodes=("a", "b")))

    assert job.error
    assert job.error.code == "conflict"
    assert "revision r1" in job.error.message
    assert "revision r2" in job.error.message
    assert "odyssai sync m --from a" in job.error.message
    assert mesh.plans == {}


def test_a_replica_of_other_files_than_those_that_serve_is_refused() -> None:
    mesh = Paper()
    mesh.store("a", stored("m", "f1"))
    mesh.store("b", stored("m", "f2"))
    mesh.place("a", placed("e", "m"))

    assert mesh.submit(Load(model="m", nodes=("b",))).error
    assert mesh.models("b") == []


def test_what_does_not_fit_is_refused_with_numbers_and_ways_out() -> None:
    mesh = Paper("a", wirable=2 * GB)
    mesh.store("a", stored("m"), stored("resident"))
    mesh.place("a", placed("e", "resident", is_pinned=True))
    job = mesh.submit(Load(model="m"))

    assert job.error
    assert job.error.code == "insufficient_memory"
    assert job.error.message == (
        "m needs 1.3 GB (weights 1.0 GB, KV cache 4 MB for 1 × 4096 tokens, head-room 0.3 GB); "
        "a has 1.0 GB left of 2.0 GB: 1.0 GB are reserved for resident. It would fit after "
        "`odyssai unload resident` (1.0 GB), or as a 4-bit conversion "
        "(`odyssai convert --bits 4`)."
    )


@pytest.mark.parametrize(("platform", "form"), [("Linux x86_64", ""), ("Darwin arm64", "4bit")])
def test_fewer_bits_are_no_way_out_where_weights_are_unpacked_or_have_few_already(
    platform: str, form: str
) -> None:
    mesh = Paper("a", wirable=GB)
    mesh.nodes["a"] = structs.replace(mesh.nodes["a"], platform=platform)
    mesh.store("a", stored("m", quantization=form))
    job = mesh.submit(Load(model="m"))

    assert job.error
    assert job.error.code == "insufficient_memory"
    assert "conversion" not in job.error.message


def test_too_little_is_told_from_enough_although_both_round_to_the_same() -> None:
    mesh = Paper("a", wirable=1_300_000_000)
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m"))

    assert job.error
    needed, left = re.findall(r"(?:needs|has) (\d+) MB", job.error.message)
    assert int(needed) > int(left) == 1300


def test_a_context_that_was_insisted_on_is_what_would_have_to_be_smaller() -> None:
    mesh = Paper("a", wirable=1_324_000_000)
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m", context=8192, batch=4))

    assert job.error
    assert "with --context 4096 --batch 1" in job.error.message


def test_of_two_loads_that_race_exactly_one_has_the_memory() -> None:
    mesh = Paper("a", wirable=2 * GB)
    mesh.store("a", stored("m"), stored("n"))
    first = mesh.submit(Load(model="m"), id="j1")
    second = mesh.submit(Load(model="n", makes_room=False), id="j2")

    assert mesh.models("a") == ["m"]
    assert (first.state, second.state) == ("running", "failed")
    assert second.error
    assert "m" in second.error.message


def test_memory_that_was_given_away_since_it_was_looked_at_is_not_given_twice() -> None:
    mesh = Paper("a", wirable=2 * GB)
    mesh.store("a", stored("m"), stored("n"))
    mesh.submit(Load(model="m"), id="j1")
    ((node, change),) = mesh.last.changes
    other = structs.replace(mesh.plan(node), placements=(placed("e", "n"),))

    assert change(other) == other


def test_an_idle_model_makes_room_and_leaves_when_nothing_runs_there() -> None:
    mesh = Paper("a", wirable=2 * GB)
    mesh.store("a", stored("m"), stored("old"))
    mesh.place("a", placed("e", "old"))
    mesh.pass_time(100)
    job = mesh.submit(Load(model="m"))

    assert [p.is_draining for p in mesh.plan("a").placements] == [True]
    assert mesh.last.needs == {"a": job_need()}
    for _ in range(3):
        mesh.obey()
        mesh.sweep()
        mesh.pass_time(1.0)
    mesh.sweep()
    job = mesh.look(job)
    assert mesh.models("a") == ["m"]
    mesh.obey()
    assert mesh.look(job).state == "done"


def job_need() -> int:
    """One request of full length."""
    return GB + 8192 * 1000 + (256 << 20) + GB // 20


def test_a_draining_engine_with_requests_is_not_removed() -> None:
    mesh = Paper("a")
    mesh.place("a", placed("e", "old", is_draining=True))
    mesh.hear("a", "e", running=1)
    for _ in range(5):
        mesh.sweep()
        mesh.pass_time(1.0)

    assert mesh.models("a") == ["old"]


def test_an_engine_whose_agent_has_not_heard_that_it_drains_is_not_removed() -> None:
    """It may be given requests at this moment."""
    mesh = Paper("a")
    mesh.place("a", placed("e", "old"))
    mesh.plans["a"] = structs.replace(
        mesh.plan("a"), placements=(placed("e", "old", is_draining=True),)
    )
    for _ in range(5):
        mesh.sweep()
        mesh.pass_time(1.0)

    assert mesh.models("a") == ["old"]


def test_a_later_job_does_not_take_what_an_earlier_one_waits_for() -> None:
    mesh = Paper("a", wirable=4 * GB)
    mesh.store("a", stored("m"))
    mesh.place("a", placed("e", "old", 2 * GB))
    mesh.pass_time(100)
    job = Job(id="j1", order=Load(model="m"), created_s=1.0, updated_s=1.0)
    mesh.jobs["j1"] = job

    assert advance(job, mesh.view).job.phase == "placing"
    assert advance(job, replace(mesh.view, promised={"a": GB})).job.phase == "making room"


def test_a_quarantined_model_is_refused_with_its_reason() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    mesh.quarantine("a", "m", "SIGSEGV")
    job = mesh.submit(Load(model="m"))

    assert job.error
    assert job.error.code == "model_quarantined"
    assert "SIGSEGV" in job.error.message
    assert "--lift-quarantine" in job.error.message


def test_a_quarantine_is_lifted_on_request() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    mesh.quarantine("a", "m")
    job = loaded(mesh, Load(model="m", lifts_quarantine=True))

    assert job.state == "done"
    assert mesh.plan("a").quarantined == ()


def test_a_model_that_is_quarantined_while_it_loads_is_not_tried_again() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m", lifts_quarantine=True))
    mesh.obey("crashed", crashes=2, detail="SIGSEGV")
    job = mesh.look(job)
    assert job.nodes[0].detail == "SIGSEGV (crashed 2 times)"
    mesh.quarantine("a", "m", "SIGSEGV")
    job = mesh.look(job)

    assert job.error
    assert job.error.code == "model_quarantined"
    assert mesh.models("a") == []


def test_what_the_agent_refuses_is_taken_back() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m"))
    mesh.obey("refused", detail="the files of m are not those that were placed")
    job = mesh.look(job)

    assert job.error
    assert (job.error.code, job.error.message) == (
        "model_load_failed",
        "the files of m are not those that were placed",
    )
    assert mesh.models("a") == []


def test_a_model_that_is_unloaded_while_it_loads_is_not_placed_again() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m"))
    mesh.obey("loading")
    job = mesh.look(job)
    mesh.plans["a"] = structs.replace(mesh.plan("a"), placements=())
    job = mesh.look(job)

    assert job.error
    assert job.error.code == "conflict"
    assert mesh.models("a") == []


def test_a_new_leader_goes_on_where_the_plan_was_written_and_the_record_was_not() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    before = Job(id="j1", order=Load(model="m"), created_s=1.0, updated_s=1.0)
    mesh.submit(before.order)
    mesh.jobs["j1"] = before
    mesh.obey()
    job = mesh.look(mesh.look(before))

    assert job.state == "done"
    assert mesh.models("a") == ["m"]


def test_a_node_that_falls_silent_is_waited_for_but_not_for_ever() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m", nodes=("a",)))
    mesh.fall_silent("a")
    job = mesh.look(job)
    assert (job.state, job.nodes[0].phase) == ("running", "silent")
    mesh.pass_time(LOST_S + 1)
    job = mesh.look(job)

    assert job.error
    assert job.error.code == "no_engine"
    assert mesh.models("a") == []


def test_a_node_that_is_not_there_or_drained_is_refused_by_name() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    gone = mesh.submit(Load(model="m", nodes=("z",)))
    mesh.plans["a"] = structs.replace(mesh.plan("a"), is_drained=True)
    drained = mesh.submit(Load(model="m", nodes=("a",)), id="j2")

    assert gone.error
    assert drained.error
    assert "'z'" in gone.error.message
    assert "odyssai undrain a" in drained.error.message


def test_with_no_node_at_all_the_refusal_says_how_to_start_one() -> None:
    mesh = Paper()
    mesh.nodes.clear()
    job = mesh.submit(Load(model="org/m"))

    assert job.error
    assert "start an agent" in job.error.message


def test_a_cancelled_load_leaves_nothing_behind() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    job = mesh.submit(Load(model="m"))
    mesh.obey("loading")
    mesh.jobs["j1"] = structs.replace(mesh.look(job), wish="cancel")
    job = mesh.look(job)
    assert mesh.models("a") == []
    assert mesh.look(job).state == "running"  # Its process has not ended yet.
    mesh.obey()
    assert mesh.look(job).state == "cancelled"


def test_a_cancelled_fetch_is_over_when_the_node_says_so() -> None:
    mesh = Paper("a")
    job = mesh.submit(Load(model="org/m"))
    mesh.work("a", "running")
    mesh.jobs["j1"] = structs.replace(mesh.look(job), wish="cancel")
    job = mesh.look(job)
    assert mesh.tasks() == {"a": [("PullTask", "cancel")]}
    assert mesh.look(job).state == "running"
    mesh.work("a", "cancelled")
    assert mesh.look(job).state == "cancelled"
    mesh.sweep()
    assert mesh.tasks() == {}


def test_a_paused_load_goes_on_when_it_is_told_to() -> None:
    mesh = Paper("a")
    job = mesh.submit(Load(model="org/m"))
    mesh.jobs["j1"] = structs.replace(job, wish="pause")
    job = mesh.look(job)
    assert (job.state, mesh.tasks()) == ("paused", {"a": [("PullTask", "pause")]})
    mesh.jobs["j1"] = structs.replace(job, wish="run")
    job = mesh.look(job)
    assert (job.state, mesh.tasks()) == ("running", {"a": [("PullTask", "run")]})


SLIM = structs.replace(SMALL, weights_bytes=GB // 10, kv_bytes_per_token=100)


def test_a_draft_is_placed_with_its_model_and_takes_its_part_of_the_memory() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"), stored("slim", footprint=SLIM))
    mesh.config = Config(models={"m": ModelConfig(draft="slim")})
    loaded(mesh, Load(model="m"))
    (found,) = mesh.plan("a").placements

    assert found.draft == Draft(model="slim", source="/models/slim")
    assert found.grant.weights_bytes == GB + GB // 10
    assert found.grant.kv_bytes == 1100 * found.grant.kv_tokens


def test_an_order_has_the_last_word_on_the_draft_and_a_loaded_model_begins_a_new_life() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"), stored("slim", footprint=SLIM), stored("slimmer", footprint=SLIM))
    mesh.config = Config(models={"m": ModelConfig(draft="slim")})
    for number, (asked, found, life) in enumerate(
        [
            ("none", None, 0),
            ("slimmer", "slimmer", 1),
            ("slimmer", "slimmer", 1),
            (None, "slimmer", 1),
            ("none", None, 2),
        ]
    ):
        assert loaded(mesh, Load(model="m", draft=asked), id=f"j{number}").state == "done"
        (placement,) = mesh.plan("a").placements
        assert (placement.draft and placement.draft.model, placement.life) == (found, life)
        assert (placement.grant.weights_bytes > GB) == (found is not None)


def test_a_draft_s_files_are_fetched_after_its_model_s() -> None:
    mesh = Paper("a")
    job = mesh.submit(Load(model="org/m", draft="org/slim"))
    assert [wanted.task.model for wanted in mesh.plan("a").tasks] == ["org/m"]
    mesh.work("a", "done")
    mesh.store("a", stored("org/m"))
    job = mesh.look(job)
    mesh.work("a", "done")
    for _ in range(3):
        job = mesh.look(job)
    (wanted,) = mesh.plan("a").tasks
    assert wanted.task == PullTask(job="j1", model="org/slim")
    assert mesh.models("a") == []
    mesh.work("a", "done")
    mesh.store("a", stored("org/m"), stored("org/slim", footprint=SLIM))
    mesh.look(job)
    mesh.obey()
    assert mesh.look(job).state == "done"
    (found,) = mesh.plan("a").placements
    assert found.draft
    assert found.draft.model == "org/slim"


def test_a_draft_that_is_nowhere_fails_the_load_by_its_name() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"))
    mesh.config = Config(models={"m": ModelConfig(draft="slim")})
    job = mesh.submit(Load(model="m"))

    assert job.error
    assert job.error.code == "model_not_found"
    assert job.error.message.startswith("The draft of m: No node that is heard has a model 'slim'")
    assert loaded(mesh, Load(model="m", draft="none"), id="j2").state == "done"


def test_a_node_that_has_the_draft_as_well_comes_first() -> None:
    mesh = Paper()
    mesh.store("a", stored("m"))
    mesh.store("b", stored("m"), stored("slim", footprint=SLIM))
    loaded(mesh, Load(model="m", draft="slim"))

    assert (mesh.models("a"), mesh.models("b")) == ([], ["m"])


def test_a_model_that_drafts_is_not_deleted() -> None:
    mesh = Paper("a")
    mesh.store("a", stored("m"), stored("slim", footprint=SLIM))
    loaded(mesh, Load(model="m", draft="slim"))
    job = mesh.submit(Remove(model="slim"), id="j2")

    assert job.error
    assert job.error.code == "conflict"
    assert "odyssai load m --draft none" in job.error.message


def test_a_model_and_a_draft_that_do_not_fit_together_are_refused() -> None:
    mesh = Paper("a", wirable=1_400_000_000)
    mesh.store("a", stored("m"), stored("slim", footprint=SLIM))
    job = mesh.submit(Load(model="m", draft="slim"))

    assert job.error
    assert job.error.code == "insufficient_memory"
    assert loaded(mesh, Load(model="m"), id="j2").state == "done"
