from collections.abc import Callable
from pathlib import Path

import pytest

from services.runner.engine import blas

blas.preload()

from services.runner.engine.embedding import loading  # noqa: E402
from services.runner.engine.embedding.loading import LoadedReader  # noqa: E402
from services.runner.engine.loading import locate  # noqa: E402
from services.runner.models.kind import kind_of  # noqa: E402
from tests import minilm as package  # noqa: E402


@pytest.fixture(scope="session")
def minilm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.folder(tmp_path_factory.mktemp("minilm"))


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], LoadedReader]:
    def load(folder: Path) -> LoadedReader:
        source = locate(str(folder), tmp_path_factory.getbasetemp())
        return loading.load(source, kind_of(source.folder, source.id))

    return load


@pytest.fixture(scope="session")
def minilm(minilm_folder: Path, load: Callable[[Path], LoadedReader]) -> LoadedReader:
    return load(minilm_folder)
