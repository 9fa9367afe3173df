"""Every service starts anew while clients ask, and none of them notices."""

import asyncio

import pytest

from tests.faults.load import Load
from tests.mesh.house import SERVICES, Command, Mesh, soon

RENEWAL_S = 60.0
"""Far more than it takes: the cores may be shared with other tests."""


def pids(mesh: Mesh) -> dict[str, set[int]]:
    return {name: mesh.pids(name) for name in (*SERVICES, "engine")}


@pytest.mark.timeout(180)
async def test_services_that_are_renewed_one_after_the_other_fail_no_request(mesh: Mesh) -> None:
    before, known = pids(mesh), mesh.logs().count("Traceback")
    load = Load(mesh.url)
    async with load.running():
        renewal = Command("renew", "--home", str(mesh.home))
        status = await asyncio.to_thread(renewal.process.wait, RENEWAL_S)
        asked = load.served
        await soon(lambda: load.served > asked + 8, 20, "requests of the new services")
    renewal.said.close()

    assert status == 0, renewal.said.text
    assert load.failed == []
    assert load.served > 20
    await soon(lambda: all(len(pids(mesh)[name]) == 1 for name in SERVICES), 20, "the old's end")
    # The agent starts itself anew, and adopts its engines.
    after = pids(mesh)
    assert {name for name in before if before[name] == after[name]} == {"runner", "engine"}
    assert mesh.logs().count("Traceback") == known
