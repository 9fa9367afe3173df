"""A machine joins a mesh whose bus listens beyond loopback; a home of its own stands for it."""

import asyncio
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from bus.connection import Bus
from proto.ids import NodeId
from proto.joining import Revoke
from proto.subjects import REVOKE
from tests.mesh.house import Command, Mesh, living, until

SEEN_S = 20.0
"""Alone on a machine it takes less than 3; the cores may be shared with other tests."""

Joining = Callable[..., Command]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("hall") / "home"
    mesh = Mesh(home, ["none"], arguments=("--bus-host", "0.0.0.0", "--no-mdns"))
    yield mesh.wait_until_it_serves()
    mesh.end()


@pytest.fixture(scope="module")
def guest_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guest") / "home"


@pytest.fixture
def joining(guest_home: Path) -> Iterator[Joining]:
    """`odyssai join` on the guest's home."""
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        command = Command("join", *arguments, "--home", str(guest_home))
        started.append(command)
        return command

    yield start
    for command in started:
        command.end()


def invite(hall: Mesh) -> str:
    command = Command("invite", "--home", str(hall.home))
    try:
        said = command.said.wait_for("odyssai join TOKEN", within_s=20)
        found = re.search(r"^odyssai-\S{50,}$", said, re.MULTILINE)
        assert found, said
        return found[0]
    finally:
        command.end()


def state_of(hall: Mesh, node: str) -> str | None:
    answer = httpx.get(f"{hall.url}/admin/nodes", timeout=5, trust_env=False).json()
    return next((each["state"] for each in answer["nodes"] if each["node"] == node), None)


def test_a_machine_joins_and_serves(
    hall: Mesh, joining: Joining, tiny_model: Path, guest_home: Path
) -> None:
    token = invite(hall)
    began = time.monotonic()
    guest = joining(token, "--node", "studio", "--model", str(tiny_model))
    until(lambda: state_of(hall, "studio") == "alive", SEEN_S, "the node seen")
    print(f"seen after {time.monotonic() - began:.1f} s")

    until(lambda: "tiny" in hall.models(), SEEN_S, "its model served")
    asked = {"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(
        f"{hall.url}/v1/chat/completions", json=asked, timeout=30, trust_env=False
    ).json()
    assert answer["usage"]["completion_tokens"] == 3

    logs = [log.read_text() for log in (guest_home / "logs").glob("*.log")]
    assert logs
    assert not any("permissions violation" in log for log in logs)
    keys = guest_home / "membership"
    assert {stat.S_IMODE(file.stat().st_mode) for file in keys.iterdir()} == {0o600}
    lines = [" ".join(process.cmdline()) for process in guest.family()]
    assert not any((keys / "key.seed").read_text() in line for line in lines)


def test_it_comes_back_without_a_token_until_it_is_removed(
    hall: Mesh, joining: Joining, tiny_model: Path
) -> None:
    guest = joining("--model", str(tiny_model))
    until(lambda: "tiny" in hall.models(), SEEN_S, "its model served again")
    engines = [p for p in guest.family() if "services.runner.engine" in " ".join(p.cmdline())]
    assert engines

    async def revoke() -> None:
        async with Bus.connect(hall.access.url("scheduler"), "test:revoke") as bus:
            assert (await bus.ask(REVOKE, Revoke(node=NodeId("studio")))).was_member

    asyncio.run(revoke())

    psutil.wait_procs(engines, timeout=SEEN_S)
    assert not living(engines)
