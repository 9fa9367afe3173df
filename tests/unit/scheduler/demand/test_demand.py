"""Which models requests wait for, and which of them are loaded for it."""

from typing import Any

from proto.config import Config, LoadingConfig, ModelConfig
from proto.placement import Want
from proto.plan import NodePlan
from services.scheduler.demand.demand import MOST_PAUSE_S, PAUSE_S, REMEMBER_S, Demand
from services.scheduler.view import View
from tests.unit.scheduler.fleet import NOW, beat, failed, load, placement, shut_out, status, stored
from tests.unit.scheduler.fleet import node as node_beat
from tests.unit.scheduler.fleet import view as view_of

OFF = LoadingConfig(on_demand=False)


def want(model: str, request: str = "r1", waited_s: float = 0.0) -> Want:
    return Want(model=model, request=request, waited_s=waited_s)


def demand_for(*models: str) -> Demand:
    demand = Demand(NOW - 100)
    for place, model in enumerate(models):
        demand.hear(want(model, f"r{place}", 100.0 - place), NOW)
    return demand


def view(*models: str, **fields: Any) -> View:
    return view_of(stores=tuple(stored(model) for model in models), **fields)


def loads(demand: Demand, seen: View) -> list[str]:
    return [order.model for order in demand.loads(seen)]


def test_a_stored_model_that_a_request_waits_for_is_loaded() -> None:
    assert loads(demand_for("a"), view("a")) == ["a"]


def test_who_began_to_wait_first_is_first() -> None:
    demand = Demand(NOW)
    demand.hear(want("late", "r1", 1.0), NOW)
    demand.hear(want("early", "r2", 9.0), NOW)

    assert loads(demand, view("late", "early")) == ["early", "late"]


def test_a_wish_that_is_not_repeated_is_gone() -> None:
    demand = demand_for("a")
    seen = view("a", clock_s=NOW + REMEMBER_S + 0.1)

    assert loads(demand, seen) == []


def test_a_wish_that_is_repeated_stays_and_counts_since_it_began() -> None:
    demand = demand_for("a")
    demand.hear(want("a", "r0", 100.0 + REMEMBER_S), NOW + REMEMBER_S)

    assert demand.wanted(NOW + 2 * REMEMBER_S) == {"a": NOW - 100.0}


def test_nothing_is_loaded_twice() -> None:
    assert loads(demand_for("a"), view("a", jobs=(load("a"),))) == []
    placed = view_of(placement("a"), stores=(stored("a"),))
    assert loads(demand_for("a"), placed) == []


def test_a_model_that_leaves_is_loaded_again() -> None:
    leaving = view_of(placement("a", is_draining=True), stores=(stored("a"),))

    assert loads(demand_for("a"), leaving) == ["a"]


def test_who_was_served_before_a_model_left_is_not_taken_for_one_who_waits() -> None:
    demand = demand_for("a")
    served = view_of(placement("a"), stores=(stored("a"),), engines={"a": beat("a")})
    leaving = view_of(placement("a", is_draining=True), stores=(stored("a"),))

    assert (loads(demand, served), loads(demand, leaving)) == ([], [])
    demand.hear(want("a"), NOW)
    assert loads(demand, leaving) == ["a"]


def test_an_engine_of_a_drained_node_serves_nobody() -> None:
    plan = NodePlan(node="studio", placements=(placement("a"),), is_drained=True)
    seen = view_of(plans={"studio": plan}, stores=(stored("a"),), engines={"a": beat("a")})

    assert loads(demand_for("a"), seen) == ["a"]


def test_a_placement_that_its_agent_gave_up_holds_nobody_back() -> None:
    alive = node_beat(status("a", "refused"))
    seen = view_of(placement("a"), stores=(stored("a"),), alive=alive)

    assert loads(demand_for("a"), seen) == ["a"]


def test_the_configuration_forbids_it_for_all_and_allows_it_for_one() -> None:
    config = Config(loading=OFF, models={"b": ModelConfig(on_demand=True)})

    assert loads(demand_for("a", "b"), view("a", "b", config=config)) == ["b"]


def test_it_is_loaded_on_as_many_nodes_as_the_configuration_says() -> None:
    config = Config(models={"a": ModelConfig(replicas=3)})
    (order,) = demand_for("a").loads(view("a", config=config))

    assert order.replicas == 3


def test_a_model_that_is_quarantined_wherever_it_is_stored_is_left_alone() -> None:
    assert loads(demand_for("a"), view("a", quarantined=(shut_out("a"),))) == []


def test_a_model_that_nobody_stores_is_left_alone() -> None:
    assert loads(demand_for("a"), view()) == []


def test_a_load_that_failed_is_tried_again_after_a_pause_that_grows() -> None:
    once = failed("a", NOW)
    twice = failed("a", NOW + 10, id="second")

    for jobs, ended_s, pause_s in (((once,), NOW, PAUSE_S), ((once, twice), NOW + 10, 2 * PAUSE_S)):
        demand = demand_for("a")
        demand.hear(want("a"), ended_s + pause_s)
        assert loads(demand, view("a", clock_s=ended_s + pause_s - 0.1, jobs=jobs)) == []
        assert loads(demand, view("a", clock_s=ended_s + pause_s, jobs=jobs)) == ["a"]


def test_the_pause_has_an_end() -> None:
    jobs = tuple(failed("a", NOW + n, id=str(n)) for n in range(20))
    demand = demand_for()
    later = NOW + 19 + MOST_PAUSE_S
    demand.hear(want("a"), later)

    assert loads(demand, view("a", clock_s=later, jobs=jobs)) == ["a"]


def test_a_load_that_was_done_ends_the_pauses_of_those_that_failed_before() -> None:
    done = load("a", id="done", state="done", by="operator", ended_s=NOW + 1)

    assert loads(demand_for("a"), view("a", jobs=(failed("a", NOW), done))) == ["a"]


def given_up(demand: Demand, seen: View) -> list[str]:
    return [job.id for job in demand.abandoned(seen)]


def test_a_load_that_nobody_waits_for_any_more_is_given_up() -> None:
    demand = demand_for("a")
    jobs = (load("a"),)

    assert given_up(demand, view("a", jobs=jobs)) == []
    assert given_up(demand, view("a", jobs=jobs, clock_s=NOW + REMEMBER_S + 0.1)) == ["load-a"]


def test_a_load_that_has_its_memory_goes_on_whoever_leaves() -> None:
    seen = view_of(placement("a", job="load-a"), stores=(stored("a"),), jobs=(load("a"),))

    assert given_up(demand_for(), seen) == []


def test_a_persons_load_is_not_given_up() -> None:
    assert given_up(demand_for(), view("a", jobs=(load("a", by="operator"),))) == []


def test_nothing_is_given_up_before_everybody_could_repeat_a_wish() -> None:
    assert given_up(Demand(NOW - 1), view("a", jobs=(load("a"),))) == []
