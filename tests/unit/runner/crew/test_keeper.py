"""How far a keeper says that its engine is."""

from pathlib import Path
from typing import Any

import pytest

from bus.connection import Bus
from proto.ids import EngineId, ModelId, NodeId
from proto.memory import Grant
from proto.plan import Placement
from services.host import Host
from services.runner.crew.engine_settings import environment
from services.runner.crew.keeper import Desk, Keeper

NODE = NodeId("n1")


def placement(**said: Any) -> Placement:
    grant = Grant(weights_bytes=1, kv_bytes=4, headroom_bytes=1, context=8, kv_tokens=32)
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "model": ModelId("tiny"), "source": "tiny", "grant": grant,
        "origin": "operator",
    }  # fmt: skip
    return Placement(**usual | said)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    host = Host("runner", NODE, Bus("nats://nowhere", "runner:n1"), tmp_path)
    nobody: Any = None  # Nothing is written down here, and no file looked at.
    return Keeper(Desk(host, NODE, nobody, nobody, nobody, 3), placement())


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
