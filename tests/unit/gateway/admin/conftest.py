"""A gateway on this machine, and a scripted leader behind it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.scripted_leader import ScriptedLeader
from tests.scripted_leader import leader as leading


@pytest.fixture
async def leader(nats_url: str) -> AsyncIterator[ScriptedLeader]:
    async with leading(nats_url) as leader:
        yield leader


@pytest.fixture
async def admin(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        yield http
