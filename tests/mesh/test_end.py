"""How a mesh ends: in order when asked, and at once when its supervisor is killed."""

import asyncio
import signal
import time

from tests.mesh.asking import Reader, async_gpt_of, chat, posted
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import living, until

GONE_S = 3.0


async def test_ctrl_c_ends_all_and_lets_running_answers_finish(start_mesh: OwnMesh) -> None:
    mesh = start_mesh()
    family = mesh.family()
    async with async_gpt_of(mesh) as client:
        reader = await Reader(client, max_tokens=300).until_under_way()
        began = time.monotonic()

        mesh.process.send_signal(signal.SIGINT)

        streamed = await reader.whole()
    assert streamed.finish == "length"
    assert await asyncio.to_thread(mesh.process.wait, 12) == 0
    assert time.monotonic() - began < 12
    assert not living(family)
    assert "Traceback" not in mesh.logs()


def test_an_idle_mesh_ends_quickly_and_starts_again_where_it_was(start_mesh: OwnMesh) -> None:
    mesh = start_mesh()
    family, access = mesh.family(), mesh.access
    assert posted(mesh, "/v1/chat/completions", chat()).status_code == 200

    mesh.process.send_signal(signal.SIGINT)
    assert mesh.process.wait(6) == 0

    assert not living(family)
    assert "Traceback" not in mesh.logs()
    assert mesh.access == access


async def test_nothing_outlives_a_killed_supervisor(start_mesh: OwnMesh) -> None:
    mesh = start_mesh()
    family = mesh.family()
    assert {name for name, count in mesh.count().items() if count} >= {"engine", "nats-server"}
    async with async_gpt_of(mesh) as client:
        reader = await Reader(client, max_tokens=6000).until_under_way()

        mesh.process.kill()

        await asyncio.to_thread(until, lambda: not living(family), GONE_S, "no process left")
        await reader.leave()
