"""A mesh for clients that are not Python's, and for the table of what is understood."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.mesh.house import Mesh
from tests.parrot import make_parrot


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Mesh]:
    """It holds ``tiny`` and ``parrot``, which reasons and calls as its prompt tells it to."""
    parrot = make_parrot(tmp_path_factory.mktemp("models") / "parrot")
    home = tmp_path_factory.mktemp("mesh") / "home"
    mesh = Mesh(home, [tiny_model, parrot], arguments=["--trust-remote-code"])
    yield mesh.wait_until_it_serves(["tiny", "parrot"])
    mesh.end()


@pytest.fixture
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as client:
        yield client
