"""What the leader says of a removed node's credential."""

from bus.connection import Bus
from proto.ids import NodeId
from proto.joining import Revoke, Revoked
from proto.subjects import REVOKE
from services.scheduler.leading.acting import revoke


async def test_without_a_keeper_it_says_that_nothing_was_withdrawn(bus: Bus) -> None:
    assert "was not withdrawn" in await revoke(bus, NodeId("a"))


async def test_with_one_it_says_whether_there_was_any(bus: Bus) -> None:
    async def answer(asked: Revoke) -> Revoked:
        return Revoked(was_member=asked.node == "member")

    keeper = await bus.answer(REVOKE, answer)
    await bus.settled()

    assert await revoke(bus, NodeId("member")) == "its credential is withdrawn"
    assert "comes back" in await revoke(bus, NodeId("local"))
    await keeper.stop()
