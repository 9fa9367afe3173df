"""How far a keeper says that its engine is."""

import time
from pathlib import Path
from typing import Any

import pytest

from bus.connection import Bus
from proto.group import Group, Member
from proto.ids import EngineId, ModelId, NodeId
from proto.memory import Grant
from proto.plan import Placement
from proto.presence import EngineBeat
from services.host import Host
from services.runner.crew.engine_settings import environment
from services.runner.crew.keeper import KNOWN_S, RENEWAL_S, Desk, Keeper

NODE = NodeId("n1")


def placement(**said: Any) -> Placement:
    grant = Grant(weights_bytes=1, kv_bytes=4, headroom_bytes=1, context=8, kv_tokens=32)
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "model": ModelId("tiny"), "source": "tiny", "grant": grant,
        "origin": "operator",
    }  # fmt: skip
    return Placement(**usual | said)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    host = Host("runner", NODE, Bus("nats://nowhere", "runner:n1"), tmp_path)
    nobody: Any = None  # Nothing is written down here, and no file looked at.
    return Desk(host, NODE, nobody, nobody, nobody, 3)


@pytest.fixture
def keeper(desk: Desk) -> Keeper:
    return Keeper(desk, placement())


def test_a_placement_whose_engine_does_not_run_is_of_the_life_that_is_wanted(
    keeper: Keeper,
) -> None:
    assert (keeper.status().phase, keeper.status().life) == ("waiting", 0)

    keeper.update(placement(life=2))

    assert keeper.status().life == 2
    assert keeper.memory_bytes == 0


def test_an_engine_is_told_its_grant() -> None:
    told = environment(placement(slots=3), NODE, "b")

    assert told["ODYSSAI_SLOTS"] == "3"
    assert told["ODYSSAI_CONTEXT"] == "8"
    assert (told["ODYSSAI_KV_TOKENS"], told["ODYSSAI_KV_BYTES"]) == ("32", "4")


def test_nothing_is_said_of_slots_that_nobody_chose_nor_of_kv_caches_that_are_not_there() -> None:
    grant = Grant(weights_bytes=1, kv_bytes=0, headroom_bytes=1, context=8, kv_tokens=32)
    told = environment(placement(grant=grant), NODE, "b")

    assert told.keys().isdisjoint({"ODYSSAI_SLOTS", "ODYSSAI_KV_TOKENS", "ODYSSAI_KV_BYTES"})


def rank(node: str, **said: Any) -> Placement:
    members = tuple(Member(engine=EngineId(f"{each}.e")) for each in ("n0", "n1"))
    return placement(
        engine=EngineId(f"{node}.e"), group=Group(split="tensor", members=members), **said
    )


@pytest.mark.parametrize(("node", "may_end"), [("n0", True), ("n1", False)])
def test_a_rank_that_is_to_start_anew_waits_for_its_leader_who_knows_what_runs(
    desk: Desk, node: str, may_end: bool
) -> None:
    keeper = Keeper(desk, rank(node))
    keeper.hear(
        EngineBeat(
            engine=keeper.placement.engine,
            node=NODE,
            boot="b",
            pid=1,
            state="ready",
            models=(),
            idle_s=60.0,
        )
    )
    keeper.update(rank(node, life=1))

    assert keeper._may_end(outdated_at=time.monotonic() - 2 * KNOWN_S) == may_end
    assert keeper._may_end(outdated_at=time.monotonic() - 2 * RENEWAL_S)


def test_a_rank_that_has_not_met_its_leader_starts_anew_by_itself(desk: Desk) -> None:
    keeper = Keeper(desk, rank("n1"))
    keeper.update(rank("n1", life=1))

    assert keeper._may_end(outdated_at=time.monotonic() - 2 * KNOWN_S)
