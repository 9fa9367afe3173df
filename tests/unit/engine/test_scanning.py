"""What transformers found in its folders is what it would find again."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.runner.engine.scanning import LEAST_FAMILIES, Structure, remembering
from tests.mesh.house import ROOT

FOUND: Structure = {
    frozenset(): {"albert.config": {"AlbertConfig"}},
    frozenset({"torch", "tokenizers"}): {"albert.model": {"Albert", "AlbertLayer"}},
}


class Search:
    def __init__(self) -> None:
        self.made: list[tuple[object, str | None]] = []

    def __call__(self, place: object, prefix: str | None = None) -> Structure:
        self.made.append((place, prefix))
        return FOUND


@pytest.fixture
def families(tmp_path: Path) -> Path:
    for at in range(LEAST_FAMILIES):
        (tmp_path / f"family{at}").mkdir()
    (tmp_path / "__pycache__").mkdir()
    return tmp_path


def test_a_folder_is_searched_once_for_each_prefix(families: Path) -> None:
    search = Search()
    for _ in range(3):
        assert remembering(search)(families, prefix="models") == FOUND
        assert remembering(search)(families / "__init__.py") == FOUND

    assert search.made == [(families, "models"), (families / "__init__.py", None)]


def test_what_is_spoiled_is_searched_again(families: Path) -> None:
    search = Search()
    remembering(search)(families)
    (kept,) = (families / "__pycache__").iterdir()
    kept.write_text(kept.read_text()[:20])

    assert remembering(search)(families) == FOUND
    assert remembering(search)(families) == FOUND
    assert len(search.made) == 2


def test_where_nothing_can_be_kept_it_is_searched_each_time(families: Path) -> None:
    search = Search()
    (families / "__pycache__").rmdir()
    for _ in range(2):
        assert remembering(search)(families) == FOUND

    assert len(search.made) == 2


def test_transformers_knows_the_same_names_either_way() -> None:
    """A release that searches in another way would be slower, or break here."""
    program = (
        "from services.runner.engine import scanning\n"
        "scanning.remember()\n"
        "import transformers\n"
        "from transformers import models\n"
        "from transformers.utils import import_utils\n"
        "kept = import_utils.define_import_structure\n"
        "real = kept.__closure__[0].cell_contents.__wrapped__\n"
        "places = [(models.__path__[0], 'models'), (models.__file__, None)]\n"
        "print(all(kept(*place) == real(*place) for place in places))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout == "True\n"
