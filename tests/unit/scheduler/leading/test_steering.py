"""What becomes of jobs beside their own steps."""

import pytest
from msgspec import structs

from proto.errors import Code, MeshError
from proto.jobs import Job, Load, Pull, Unload
from services.scheduler.leading.leftovers import orphans
from services.scheduler.leading.records import MOST_KEPT, surplus
from services.scheduler.leading.steering import ends_load, steered
from tests.unit.scheduler.paper import NOW, Paper, stored


def job(state: str = "running", **fields: object) -> Job:
    plain = {"id": "j", "order": Pull(model="m"), "created_s": 1.0, "updated_s": 1.0}
    return Job(state=state, **(plain | fields))


def test_a_job_that_is_under_way_takes_any_wish() -> None:
    for wish in ("pause", "run", "cancel"):
        assert steered(job(), wish).wish == wish


def test_a_job_that_failed_is_tried_again_from_the_beginning() -> None:
    error = MeshError(Code.UPSTREAM, "the hub is away").refusal()
    failed = job("failed", error=error, phase="failed", detail="the hub is away", ended_s=2.0)
    again = steered(failed, "run")

    assert (again.state, again.phase, again.error, again.ended_s) == (
        "running", "accepted", None, None,
    )  # fmt: skip


def test_a_pull_that_is_tried_again_stays_on_its_node() -> None:
    mesh = Paper()
    failed = structs.replace(mesh.submit(Pull(model="org/m", nodes=("b",))), state="failed")

    assert [(p.node, p.phase) for p in steered(failed, "run").nodes] == [("b", "waiting")]


def test_cancelling_what_is_over_changes_nothing() -> None:
    assert steered(job("failed"), "cancel") == job("failed")


@pytest.mark.parametrize(
    ("state", "wish"), [("done", "run"), ("done", "cancel"), ("failed", "pause")]
)
def test_what_cannot_be_is_refused(state: str, wish: str) -> None:
    with pytest.raises(MeshError, match="is over") as refused:
        steered(job(state), wish)
    assert refused.value.code is Code.CONFLICT


def test_an_unload_ends_the_loads_of_its_model() -> None:
    mesh = Paper()
    mesh.store("a", stored("m", aliases=("alias",)), stored("n"))
    load = mesh.submit(Load(model="m", nodes=("a",)))

    assert ends_load(Unload(model="alias"), load, mesh.view)
    assert ends_load(Unload(model="m", nodes=("a",)), load, mesh.view)
    assert not ends_load(Unload(model="m", nodes=("b",)), load, mesh.view)
    assert not ends_load(Unload(model="n"), load, mesh.view)


def test_loads_for_the_sake_of_a_job_that_is_over_are_orphans() -> None:
    mesh = Paper()
    child = job(id="child", by="drain parent")
    mesh.jobs = {"parent": job(id="parent"), "child": child}
    assert orphans(mesh.view) == []
    mesh.jobs["parent"] = job("cancelled", id="parent")
    assert orphans(mesh.view) == [child]


def test_of_jobs_that_are_over_the_oldest_are_forgotten() -> None:
    over = [job("done", id=str(at), ended_s=NOW + at) for at in range(MOST_KEPT + 2)]

    assert [j.id for j in surplus([*reversed(over), job(id="going")])] == ["0", "1"]
