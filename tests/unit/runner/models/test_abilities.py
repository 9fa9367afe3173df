"""What mlx-lm's classes can do by their source is what they can do once they are imported."""

import importlib
import pkgutil
import subprocess
import sys
from typing import Any

import mlx_lm.models
import pytest
from mlx_lm.utils import MODEL_REMAPPING

from services.runner.models.abilities import NONE, Abilities, abilities

FAMILIES = [
    "llama", "qwen2", "qwen3_5", "qwen3_5_moe", "deepseek_v3", "glm_moe_dsa", "kimi_k25", "gpt_oss",
    "gemma3_text", "qwen3_next", "mamba", "ministral3", "solar_open",
]  # fmt: skip


def module_of(family: str) -> Any:
    return importlib.import_module(f"mlx_lm.models.{family}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_divides_its_layers_if_it_has_a_way_to(family: str) -> None:
    assert abilities(family).is_divisible == hasattr(module_of(family).Model, "shard")


def test_no_family_with_stages_is_missed() -> None:
    """Every module that speaks of pipelines has a model that knows them, and no other has one."""
    names = [module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)]
    stageable = {name for name in names if abilities(name).is_stageable}

    assert {"qwen2", "deepseek_v3", "glm_moe_dsa", "kimi_k25", "qwen3_5_moe"} <= stageable
    assert stageable.isdisjoint({"llama", "gemma3_text", "mamba", "pipeline"})


def test_a_family_that_another_class_serves_can_what_that_can() -> None:
    assert MODEL_REMAPPING["mistral"] == "llama"
    assert abilities("mistral") == abilities("llama") == Abilities(True, False)


@pytest.mark.parametrize("family", ["", "no_such_model", "../utils", "a b"])
def test_what_mlx_lm_does_not_know_can_nothing(family: str) -> None:
    assert abilities(family) == NONE


def test_nothing_of_mlx_is_loaded_for_it() -> None:
    asked = (
        "import sys; from services.runner.models.abilities import abilities; "
        "abilities('qwen2'); print(sorted(m for m in sys.modules if m.startswith('mlx')))"
    )
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
