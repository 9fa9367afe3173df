"""All of a mesh get new keys, and its bus a new certificate, while clients ask and are answered."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.connection import Bus
from proto.credentials import CERTIFICATE, ListCredentials, Rotate
from proto.subjects import CREDENTIALS, ROTATE
from tests.faults.load import Load
from tests.mesh.asking import Reader, async_gpt_of
from tests.mesh.house import NODE, SERVICES, Mesh, soon

ROTATED = ("gateway.home", f"runner.{NODE}", "scheduler.home", "cloud.home", "health.home")
ENDLESS = 7000
"""Tokens whose generation outlasts the test."""
OVERLAP_S = 60.0
"""Far more than the time for which an old key is good, too."""


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Mesh]:
    """Its bus listens beyond loopback."""
    home = tmp_path_factory.mktemp("encrypted") / "home"
    mesh = Mesh(home, [tiny_model], arguments=("--bus-host", "0.0.0.0", "--no-mdns"))
    yield mesh.wait_until_it_serves()
    mesh.end()


@pytest.fixture
async def console(encrypted: Mesh) -> AsyncIterator[Bus]:
    async with Bus.connect(encrypted.access.url("console"), "console:test") as bus:
        yield bus


async def settled(console: Bus) -> None:
    """Until the old keys open nothing any more."""
    async with asyncio.timeout(OVERLAP_S):
        while any(
            each.is_changing
            for each in (await console.ask(CREDENTIALS, ListCredentials())).credentials
        ):
            await asyncio.sleep(0.05)


def processes(mesh: Mesh) -> dict[str, set[int]]:
    return {name: mesh.pids(name) for name in (*SERVICES, "engine", "nats-server")}


@pytest.mark.timeout(240)
async def test_keys_and_certificate_are_rotated_under_load_and_no_answer_suffers(
    encrypted: Mesh, console: Bus
) -> None:
    before = processes(encrypted)
    certificate = (encrypted.access.folder / "server.pem").read_bytes()
    load = Load(encrypted.url)
    async with async_gpt_of(encrypted) as client, load.running():
        reader = await Reader(client, max_tokens=ENDLESS).until_under_way()
        for whose in (*ROTATED, CERTIFICATE):
            await console.ask(ROTATE, Rotate(credential=whose))
        await settled(console)
        served, read = load.served, reader.read.events
        await soon(lambda: load.served > served + 8, 30, "requests by the new keys")
        if reader.is_over:
            assert (await reader.whole()).finish == "length"
        else:
            assert reader.read.events > read
            await reader.leave()

    assert load.failed == []
    assert reader.read.text.startswith(load.expected)
    assert (encrypted.access.folder / "server.pem").read_bytes() != certificate
    assert processes(encrypted) == before
