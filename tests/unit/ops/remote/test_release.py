"""What goes to nodes: named for what is in it, built of the very source."""

import zipfile
from pathlib import Path

import pytest

from ops.remote import release
from ops.remote.errors import NotBuilt
from ops.remote.release import SOURCE, fingerprint, release_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copy = tmp_path / "source"
    for name in (*release.BESIDE, release.LOCK):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(f"{name}\n")
    (copy / "ops").mkdir()
    (copy / "ops" / "words.py").write_text("one = 1\n")
    return copy


def test_a_release_is_named_for_its_contents(source: Path) -> None:
    before = fingerprint(source)
    assert fingerprint(source) == before

    (source / "ops" / "__pycache__").mkdir()
    (source / "ops" / "__pycache__" / "words.pyc").write_text("made")
    assert fingerprint(source) == before

    (source / "ops" / "words.py").write_text("one = 2\n")
    assert fingerprint(source) != before


def test_another_lock_is_another_release(source: Path) -> None:
    before = fingerprint(source)

    (source / release.LOCK).write_text("other versions\n")

    assert fingerprint(source) != before


async def test_the_wheel_holds_all_that_runs() -> None:
    with release_of() as built:
        wheel = await built.wheel()
        names = set(zipfile.ZipFile(wheel).namelist())
        assert await built.wheel() == wheel

    for needed in ("proto/subjects.py", "services/runner/__main__.py", "ops/remote/detached.py"):
        assert needed in names
    scripts = [file.relative_to(SOURCE) for file in (SOURCE / "ops").rglob("*.sh")]
    assert {str(script) for script in scripts} <= names
    assert not any(name.startswith("tests/") for name in names)


def test_what_is_no_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotBuilt, match=r"pyproject\.toml is missing"), release_of(tmp_path):
        pass


async def test_a_source_that_cannot_be_built_says_why(source: Path) -> None:
    (source / "pyproject.toml").write_text("[build-system\n")

    with release_of(source) as broken, pytest.raises(NotBuilt, match="no wheel can be built"):
        await broken.wheel()
