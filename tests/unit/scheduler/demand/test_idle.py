"""Which models are unloaded because nobody uses them."""

from proto.config import Config, LoadingConfig, ModelConfig
from proto.jobs import Unload
from services.scheduler.demand.idle import overdue
from tests.unit.scheduler.paper import Paper, placed


def mesh_with(idle_s: float, config: Config | None = None, **fields: object) -> Paper:
    mesh = Paper("a")
    mesh.config = config or Config()
    mesh.place("a", placed("e", "m", **fields))
    mesh.hear("a", "e", idle_s=idle_s)
    return mesh


def test_without_any_word_models_stay() -> None:
    assert overdue(mesh_with(1e9).view) == []


def test_a_placement_s_own_time_counts_first() -> None:
    told = Config(loading=LoadingConfig(idle_ttl_s=1.0))
    ordered = [Unload(model="m", nodes=("a",))]

    assert overdue(mesh_with(61, told, idle_ttl_s=60.0).view) == ordered
    assert overdue(mesh_with(59, told, idle_ttl_s=60.0).view) == []


def test_then_the_model_s_then_that_of_all() -> None:
    own = Config(models={"m": ModelConfig(idle_ttl_s=60.0)}, loading=LoadingConfig(idle_ttl_s=1.0))

    assert overdue(mesh_with(59, own).view) == []
    assert overdue(mesh_with(61, own).view)
    assert overdue(mesh_with(2, Config(loading=LoadingConfig(idle_ttl_s=1.0))).view)


def test_pinned_and_draining_ones_are_left_alone() -> None:
    assert overdue(mesh_with(61, idle_ttl_s=60.0, is_pinned=True).view) == []
    assert overdue(mesh_with(61, idle_ttl_s=60.0, is_draining=True).view) == []
