"""Houses to join."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.ops.joining.house import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "home") as house:
        yield house


@pytest.fixture
async def open_bus(tmp_path: Path) -> AsyncIterator[House]:
    """It listens beyond loopback."""
    async with open_house(tmp_path / "home", "0.0.0.0") as house:
        yield house
