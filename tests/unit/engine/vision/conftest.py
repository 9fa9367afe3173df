"""Tiny models that see; these tests need the extra ``vision``."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("mlx_vlm", reason="the extra `vision` is not installed")

from services.runner.engine.loading import load
from tests.tiny_vlm import make_tiny_vlm
from tests.unit.engine.vision.pictures import Shown, png

A, B = png(1), png(2)
"""Of one size, so that their patches are as many."""


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    home = tmp_path_factory.mktemp("seeing")
    return cache(lambda family: make_tiny_vlm(home / family, family))


@pytest.fixture(scope="session")
def seeing(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """``seeing("llava")``: a loaded model of that family that was shown two pictures."""

    @cache
    def shown(family: str) -> Shown:
        made = Shown(load(str(folder_of(family)), tmp_path_factory.getbasetemp()))
        made.show(A, B)
        return made

    return shown
