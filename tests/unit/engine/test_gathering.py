"""Which processes become a group, and when one is none any more."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bus.connection import Bus
from proto.group import Formation, Group, Member, RankBeat
from proto.ids import EngineId, NodeId
from proto.presence import Gone
from services.host import Host
from services.runner.engine.group import cores
from services.runner.engine.group.gathering import Gathering, likeness
from services.runner.engine.settings import Settings

LEADER, OTHER = EngineId("a.tiny"), EngineId("b.tiny")
GROUP = Group(split="tensor", members=(Member(engine=LEADER), Member(engine=OTHER)))
WAITING = RankBeat(
    engine=OTHER, boot="b1", pid=2, leader=LEADER, rank=1, size=2, likeness=likeness(GROUP),
    phase="gathering", address="10.0.0.2:7000",
)  # fmt: skip


@pytest.fixture
async def gathered(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator["Gathered"]:
    for name in ("MLX_RANK", "MLX_HOSTFILE"):
        monkeypatch.setenv(name, "")
    async with Bus.connect(nats_url, "test:rank") as bus:
        yield Gathered(Host("engine", LEADER, bus, tmp_path))


class Gathered:
    """The leader's view, and with which statuses its process would have ended."""

    def __init__(self, host: Host) -> None:
        self.ended: list[int] = []
        settings = Settings(
            engine=LEADER, node=NodeId("a"), boot="a1", source="tiny", slots=1, queue_limit=1,
            cache_bytes=0, aliases={},
        )  # fmt: skip
        self.view = Gathering(host, settings, GROUP, self.ended.append)

    async def formed(self, *heard: RankBeat) -> Formation:
        for said in heard:
            self.view.hear(said)
        return await self.view.formed()


async def test_a_group_is_of_the_processes_that_wait_for_it(gathered: Gathered) -> None:
    unlike = replace(WAITING, boot="b0", likeness=likeness(replace(GROUP, split="pipeline")))
    formation = await gathered.formed(unlike, WAITING)
    assert formation.boots == ("a1", "b1")
    assert formation.addresses[1] == "10.0.0.2:7000"
    assert os.environ["MLX_RANK"] == "0"
    hosts = await asyncio.to_thread(Path(os.environ["MLX_HOSTFILE"]).read_text)
    assert hosts == f'[["{formation.addresses[0]}"],["10.0.0.2:7000"]]'


async def test_ranks_on_one_machine_share_its_cores(
    gathered: Gathered, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[tuple[int, int]] = []
    monkeypatch.setattr(cores, "share", lambda *told: shared.append(told))

    await gathered.formed(replace(WAITING, address="127.0.0.1:7000"))
    await gathered.formed(replace(WAITING, address="10.0.0.2:7000"))

    assert shared == [(0, 2), (0, 1)]


@pytest.mark.parametrize(
    "unready",
    [
        replace(WAITING, address=""),
        replace(WAITING, phase="loading"),
        replace(WAITING, likeness=likeness(replace(GROUP, split="pipeline"))),
    ],
)
async def test_nobody_is_met_who_does_not_wait_for_the_same_group(
    gathered: Gathered, unready: RankBeat
) -> None:
    gathered.view.hear(unready)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await gathered.view.formed()


async def test_a_rank_ends_with_another_of_its_group(gathered: Gathered) -> None:
    await gathered.formed(WAITING)
    gathered.view.look()
    gathered.view.hear_gone(Gone(kind="engine", id=OTHER, boot="b0", why="SIGKILL"))
    assert gathered.ended == []

    gathered.view.hear_gone(Gone(kind="engine", id=OTHER, boot="b1", why="SIGKILL"))
    assert gathered.ended == [os.EX_TEMPFAIL]

    gathered.view.hear(replace(WAITING, boot="b2"))
    gathered.view.look()
    assert gathered.ended == [os.EX_TEMPFAIL] * 2
