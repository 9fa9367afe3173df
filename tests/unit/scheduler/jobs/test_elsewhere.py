"""Loading and unloading at engines that are not ours: they are told, and their own word counts."""

import pytest

from proto.errors import Code
from proto.ids import CLOUD, EngineId
from proto.jobs import Load, Order, Unload
from proto.presence import EngineBeat, ModelCard
from services.scheduler.jobs.elsewhere import PATIENCE_S
from services.scheduler.jobs.step import SetLoadedElsewhere
from tests.unit.scheduler.paper import Paper

MODEL = "box:tiny"
ENGINES = (EngineId("cloud.box-1"), EngineId("cloud.box-2"))


def heard(mesh: Paper, *, sleeps: bool | None) -> None:
    """By two cloud services; None: the model is gone from the engine's list."""
    cards = () if sleeps is None else (ModelCard(id=MODEL, context_length=0, sleeps=sleeps),)
    for engine in ENGINES:
        mesh.engines[engine] = EngineBeat(
            engine=engine, node=CLOUD, boot="b", pid=1, state="ready", models=cards,
            upstream="http://box/v1", provider="box",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("order", "before", "after", "detail"),
    [
        (Load(model=MODEL), True, False, "loaded"),
        (Load(model=MODEL), None, False, "loaded"),
        (Unload(model=MODEL), False, True, "unloaded"),
        (Unload(model=MODEL), False, None, "unloaded"),
    ],
)
def test_one_service_tells_the_engine_until_the_engine_says_that_it_is_so(
    order: Order, before: bool | None, after: bool | None, detail: str
) -> None:
    mesh = Paper()
    heard(mesh, sleeps=before)
    job = mesh.submit(order)
    told = SetLoadedElsewhere(ENGINES[0], MODEL, isinstance(order, Load))
    assert (job.state, mesh.last.acts) == ("running", (told,))
    job = mesh.look(job)
    assert (job.state, mesh.last.acts) == ("running", (told,))

    heard(mesh, sleeps=after)
    job = mesh.look(job)

    assert (job.state, job.detail) == ("done", detail)
    assert not mesh.plans


def test_an_engine_that_is_lost_meanwhile_fails_a_load_and_not_an_unload() -> None:
    mesh = Paper()
    heard(mesh, sleeps=True)
    load = mesh.submit(Load(model=MODEL))
    mesh.engines.clear()

    load = mesh.look(load)

    assert load.state == "failed"
    assert load.error
    assert load.error.code == Code.NO_ENGINE.word


def test_what_only_engines_of_ours_can_be_told_is_refused_by_name() -> None:
    mesh = Paper()
    heard(mesh, sleeps=True)

    job = mesh.submit(Load(model=MODEL, context=100))

    assert job.state == "failed"
    assert job.error
    assert job.error.param == "context"


def test_an_engine_that_never_does_it_is_not_waited_for_for_ever() -> None:
    mesh = Paper()
    heard(mesh, sleeps=True)
    job = mesh.submit(Load(model=MODEL))
    mesh.pass_time(PATIENCE_S + 1)

    assert mesh.look(job).state == "failed"


def test_models_of_our_own_are_none_of_this() -> None:
    mesh = Paper()
    heard(mesh, sleeps=True)

    job = mesh.submit(Unload(model="mine"))

    assert job.error
    assert job.error.code == Code.MODEL_NOT_FOUND.word
