"""What an agent writes into its node's plan."""

from typing import Any

import pytest
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId, NodeId, engine_id
from proto.memory import Footprint
from proto.plan import NodePlan, Placement, Quarantine
from proto.store import StoredModel
from services.runner.plan.edits import Memory, with_flag, with_flags_only_of, with_quarantine

GB = 10**9
NODE = NodeId("n")
EMPTY = NodePlan(node=NODE)


def stored(name: str = "m", **said: Any) -> StoredModel:
    footprint = Footprint(weights_bytes=4 * GB, kv_bytes_per_token=10_000, context_length=32_768)
    usual: dict[str, Any] = {
        "id": ModelId(name), "source": name, "fingerprint": f"files of {name}",
        "disk_bytes": 4 * GB, "footprint": footprint,
    }  # fmt: skip
    return StoredModel(**usual | said)


def memory(wirable: int = 16 * GB, available: int = 16 * GB, **measured: int) -> Memory:
    return Memory(wirable, available, {EngineId(e): size for e, size in measured.items()})


def flagged(plan: NodePlan, model: StoredModel, room: Memory | None = None) -> NodePlan:
    engine = engine_id(NODE, model.source)
    return with_flag(plan, engine, model.source, model, room or memory(), now_s=1.0)


def only(plan: NodePlan) -> Placement:
    (placement,) = plan.placements
    return placement


def test_a_flag_is_placed_pinned_with_all_that_fits() -> None:
    placed = only(flagged(EMPTY, stored()))

    assert (placed.origin, placed.is_pinned, placed.placed_s) == ("flag", True, 1.0)
    assert placed.fingerprint == "files of m"
    assert placed.grant.context == 32_768
    assert placed.grant.total_bytes <= 16 * GB


def test_each_flag_leaves_the_next_what_it_has_not_reserved() -> None:
    plan = flagged(flagged(EMPTY, stored("a"), memory(12 * GB)), stored("b"), memory(12 * GB))

    assert [p.model for p in plan.placements] == ["a", "b"]
    with pytest.raises(MeshError, match="c does not fit on n"):
        flagged(plan, stored("c"), memory(12 * GB))


def test_a_refusal_has_the_numbers_and_says_what_helps() -> None:
    with pytest.raises(MeshError) as refused:
        flagged(EMPTY, stored(), memory(4 * GB))

    assert refused.value.code is Code.NO_MEMORY
    assert "4.0 GB of weights" in refused.value.message
    assert "4.0 GB of 4.0 GB are free" in refused.value.message
    assert "--memory" in refused.value.message


def test_what_an_engine_has_not_taken_yet_of_its_reservation_is_not_free() -> None:
    plan = flagged(EMPTY, stored("a"))

    with pytest.raises(MeshError):
        flagged(plan, stored("b"), memory(available=9 * GB))
    taken = {only(plan).engine: only(plan).grant.total_bytes}
    assert len(flagged(plan, stored("b"), memory(available=9 * GB, **taken)).placements) == 2


def test_a_flag_that_is_placed_already_keeps_its_grant_however_little_is_left() -> None:
    plan = flagged(EMPTY, stored())

    assert flagged(plan, stored(), memory(available=0)) == plan


def test_other_files_are_another_life() -> None:
    plan = flagged(EMPTY, stored())
    again = only(flagged(plan, stored(fingerprint="edited")))

    assert (again.fingerprint, again.life) == ("edited", 1)


def test_less_memory_than_was_granted_is_another_grant_and_life() -> None:
    before = only(plan := flagged(EMPTY, stored()))
    after = only(flagged(plan, stored(), memory(5 * GB)))

    assert after.grant.total_bytes < before.grant.total_bytes
    assert after.life == 1


def test_what_an_operator_placed_stays_as_it_was_wanted() -> None:
    theirs = replace(only(flagged(EMPTY, stored())), origin="operator", is_pinned=False)
    plan = replace(EMPTY, placements=(theirs,))

    assert flagged(plan, stored()) == plan
    assert flagged(plan, stored(source="./m")) == plan


def test_what_was_loaded_on_demand_becomes_the_flags_and_is_pinned() -> None:
    placed = only(flagged(EMPTY, stored()))
    plan = replace(EMPTY, placements=(replace(placed, origin="demand", is_pinned=False),))

    assert only(flagged(plan, stored())) == placed


def test_two_folders_of_one_name_are_two_engines() -> None:
    plan = flagged(flagged(EMPTY, stored(source="a/m")), stored(source="b/m"))

    assert len({p.engine for p in plan.placements}) == 2


def test_flags_that_are_no_longer_given_go_and_all_else_stays() -> None:
    kept, gone = only(flagged(EMPTY, stored("a"))), only(flagged(EMPTY, stored("b")))
    loaded = replace(gone, engine=EngineId("e"), origin="operator")
    plan = replace(EMPTY, placements=(kept, gone, loaded))

    assert with_flags_only_of(plan, {kept.engine}).placements == (kept, loaded)


def test_a_model_in_quarantine_is_placed_by_no_flag() -> None:
    plan = flagged(EMPTY, stored())
    reason = Quarantine(model=ModelId("m"), source="m", reason="it crashed", crashes=3, at_s=1.0)
    given_up = with_quarantine(plan, only(plan), reason)

    assert (given_up.placements, given_up.quarantined) == ((), (reason,))
    assert flagged(given_up, stored()) == given_up
    assert with_quarantine(EMPTY, only(plan), reason) == EMPTY
