"""The odyssai command, talking to a scripted leader over a real bus."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from ops import command
from tests.scripted_leader import ScriptedLeader
from tests.scripted_leader import leader as leading


class Said(NamedTuple):
    status: int
    out: str
    err: str


Odyssai = Callable[..., Awaitable[Said]]


@pytest.fixture
async def leader(nats_url: str) -> AsyncIterator[ScriptedLeader]:
    async with leading(nats_url) as leader:
        yield leader


@pytest.fixture
def odyssai(nats_url: str, capsys: pytest.CaptureFixture[str]) -> Odyssai:
    """Runs a command to its end, beside the test's own event loop."""

    async def run(*arguments: str) -> Said:
        given = [*arguments, "--nats", nats_url]
        status = await asyncio.to_thread(command.main, given)
        return Said(status, *capsys.readouterr())

    return run
