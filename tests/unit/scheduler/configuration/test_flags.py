"""What an agent was started with gets what the configuration has for it, once."""

import pytest
from msgspec import structs

from proto.config import Config, ModelConfig
from proto.jobs import Job, Load
from proto.plan import Placement
from services.scheduler.configuration.flags import CONFIGURED, not_yet_as_configured
from tests.unit.scheduler.paper import GB, Paper, placed, stored


def started(**told: object) -> Paper:
    """The agent of a was started with m, and slim lies beside it."""
    mesh = Paper("a", wirable=8 * GB)
    mesh.store("a", stored("m"), stored("slim"))
    mesh.place("a", placed("e", "m", origin="flag", is_pinned=True))
    mesh.config = Config(models={"m": ModelConfig(**told)})
    return mesh


def obeyed(mesh: Paper, order: Load, number: int = 1) -> Job:
    job = mesh.submit(order, by=CONFIGURED, id=f"j{number}")
    for _ in range(4):
        mesh.obey()
        job = mesh.look(job) if not job.is_over else job
    return job


def only(mesh: Paper) -> Placement:
    (found,) = mesh.plan("a").placements
    return found


def test_it_is_loaded_anew_with_the_context_and_the_draft_that_are_configured() -> None:
    mesh = started(context=1024, batch=2, draft="slim")
    (order,) = not_yet_as_configured(mesh.view)
    job = obeyed(mesh, order)
    found = only(mesh)

    assert job.state == "done"
    assert (found.grant.context, found.grant.kv_tokens, found.life) == (1024, 2048, 1)
    assert found.draft
    assert found.draft.model == "slim"
    assert (found.origin, found.is_pinned) == ("flag", True)
    assert list(not_yet_as_configured(mesh.view)) == []


@pytest.mark.parametrize("told", [{}, {"temperature": 0.5}, {"draft": "none"}, {"pinned": True}])
def test_what_says_nothing_of_a_load_starts_nothing(told: dict[str, object]) -> None:
    assert list(not_yet_as_configured(started(**told).view)) == []


def test_what_an_operator_says_afterwards_holds() -> None:
    mesh = started(context=1024, draft="slim")
    (order,) = not_yet_as_configured(mesh.view)
    obeyed(mesh, order)
    obeyed(mesh, Load(model="m", context=512, draft="none"), 2)

    assert (only(mesh).grant.context, only(mesh).draft) == (512, None)
    assert list(not_yet_as_configured(mesh.view)) == []


def test_what_fails_is_tried_once_and_leaves_the_model_as_it_was() -> None:
    mesh = started(draft="missing")
    (order,) = not_yet_as_configured(mesh.view)
    job = obeyed(mesh, order)

    assert job.state == "failed"
    assert "missing" in job.detail
    assert (only(mesh).model, only(mesh).life) == ("m", 0)
    assert list(not_yet_as_configured(mesh.view)) == []
    mesh.config = Config(models={"m": ModelConfig(draft="slim")})
    assert len(list(not_yet_as_configured(mesh.view))) == 1


def test_what_was_placed_by_an_order_is_no_business_of_it() -> None:
    mesh = started(context=1024)
    plan = mesh.plan("a")
    mine = tuple(structs.replace(p, origin="operator") for p in plan.placements)
    mesh.plans["a"] = structs.replace(plan, placements=mine)

    assert list(not_yet_as_configured(mesh.view)) == []
