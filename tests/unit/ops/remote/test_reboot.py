"""When a machine may be restarted."""

import pytest

from ops.remote.errors import Refused
from ops.remote.reboot import check_rest, is_among
from proto.ids import EngineId, ModelId, NodeId
from proto.overview import EngineView, NodeView


def node(running: int, queued: int = 0) -> NodeView:
    engine = EngineView(
        engine=EngineId("studio.tiny"), model=ModelId("tiny"), node=NodeId("studio"),
        phase="ready", running=running, queued=queued,
    )  # fmt: skip
    return NodeView(node=NodeId("studio"), state="alive", engines=(engine,))


def test_a_node_that_serves_is_not_restarted() -> None:
    with pytest.raises(Refused, match=r"3 requests run on studio; `odyssai drain studio`"):
        check_rest("studio", node(running=2, queued=1), is_forced=False)


def test_unless_it_is_forced_or_serves_nobody_or_is_not_heard() -> None:
    check_rest("studio", node(running=2), is_forced=True)
    check_rest("studio", node(running=0), is_forced=False)
    check_rest("studio", None, is_forced=False)


def test_the_bus_s_machine_is_known_by_its_addresses() -> None:
    studio = ["127.0.0.1", "::1", "10.0.0.7", "fe80::1%en0"]

    assert is_among(studio, ["10.0.0.1", "10.0.0.7"])
    assert not is_among(studio, ["127.0.0.1", "::1"])
    assert not is_among(studio, ["10.0.0.1", "127.0.0.1"])
