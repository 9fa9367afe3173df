"""What a client is told of a model that no engine serves."""

import pytest

from proto.config import Config, LoadingConfig
from proto.errors import Code, MeshError
from proto.jobs import NodeProgress
from proto.plan import NodePlan
from services.scheduler.demand.absent import waits_for
from tests.unit.scheduler.fleet import (
    NOW,
    failed,
    load,
    node,
    placement,
    shut_out,
    status,
    stored,
    view,
)

A = (stored("a"),)
OFF = Config(loading=LoadingConfig(on_demand=False))


def part(phase: str, **fields: object) -> NodeProgress:
    return NodeProgress(node="studio", phase=phase, **fields)


def test_a_stored_model_is_about_to_be_loaded() -> None:
    assert waits_for("a", view(stores=A)) == "about to be loaded"


def test_a_model_on_silent_nodes_only_is_refused_with_their_names() -> None:
    with pytest.raises(MeshError, match="studio had them") as refused:
        waits_for("a", view(stores=A, nodes={}))

    assert refused.value.code is Code.NO_ENGINE


def test_a_model_on_a_drained_node_does_not_come_from_there() -> None:
    drained = NodePlan(node="studio", placements=(placement("a"),), is_drained=True)
    seen = view(stores=A, plans={"studio": drained}, alive=node(status("a", "ready")))

    assert waits_for("a", seen) == "about to be loaded"


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (part("fetching", done_bytes=3_100_000_000, total_bytes=8_000_000_000),
         "fetching 3.1 of 8.0 GB"),
        (part("making room", detail="waiting for its turn (30 s)"), "waiting for its turn (30 s)"),
        (part("loading", detail="40 %"), "loading 40 %"),
    ],
)  # fmt: skip
def test_a_load_under_way_tells_how_far_it_is(at: NodeProgress, said: str) -> None:
    assert waits_for("a", view(stores=A, jobs=(load("a", nodes=(at,)),))) == said


def test_a_persons_load_is_waited_for_even_where_requests_begin_none() -> None:
    assert (
        waits_for("a", view(stores=A, config=OFF, jobs=(load("a", by="operator"),))) == "accepted"
    )


def test_what_an_agent_starts_by_its_plan_is_waited_for() -> None:
    seen = view(placement("a"), alive=node(status("a", "loading", "40 %")))

    assert waits_for("a", seen) == "loading 40 %"


def test_an_engine_that_is_ready_and_serves_nobody_recovers() -> None:
    assert waits_for("a", view(placement("a"), alive=node(status("a", "ready")))) == ("recovering")


def test_a_load_that_failed_of_late_is_told_at_once_with_when_to_ask_again() -> None:
    with pytest.raises(MeshError) as refused:
        waits_for("a", view(stores=A, jobs=(failed("a", NOW - 1),)))

    assert (refused.value.code, refused.value.message) == (Code.NO_MEMORY, "too large")
    assert refused.value.retry_after_s == 4.0


def test_where_requests_load_nothing_it_is_said_how_a_model_is_loaded() -> None:
    with pytest.raises(MeshError) as refused:
        waits_for("a", view(stores=A, config=OFF))

    assert refused.value.code is Code.NOT_LOADED
    assert "odyssai load a" in refused.value.message


def test_a_quarantined_model_is_refused_with_the_reason() -> None:
    with pytest.raises(MeshError) as refused:
        waits_for("a", view(stores=A, quarantined=(shut_out("a"),)))

    assert refused.value.code is Code.QUARANTINED
    assert "it crashed" in refused.value.message


def test_a_model_that_leaves_is_about_to_be_loaded_again() -> None:
    seen = view(placement("a", is_draining=True), stores=A)

    assert waits_for("a", seen) == "about to be loaded"
