"""What an older leader may not do any more."""

import pytest

from bus.connection import Bus
from bus.mirror import Mirror
from bus.state import Bucket
from proto.ids import NodeId, fresh
from proto.plan import NodePlan
from services.scheduler.changes import set_drained
from services.scheduler.leading.plans import Deposed, Plans

NODE = NodeId("a")


async def plans(bus: Bus, bucket: str, epoch: int) -> Plans:
    return Plans(Mirror(await Bucket.open(bus, bucket, NodePlan)), epoch)


async def test_a_leader_stamps_every_plan_and_the_one_before_it_writes_no_more(bus: Bus) -> None:
    bucket = fresh()
    older, newer = await plans(bus, bucket, 5), await plans(bus, bucket, 9)
    await older.change(NODE, set_drained(True))
    await newer.stamp()

    with pytest.raises(Deposed):
        await older.change(NODE, set_drained(False))
    assert (await newer.change(NODE, lambda plan: plan)).is_drained


async def test_a_node_that_came_after_the_stamp_is_fenced_by_the_first_write(bus: Bus) -> None:
    bucket = fresh()
    older, newer = await plans(bus, bucket, 5), await plans(bus, bucket, 9)
    await newer.stamp()
    await newer.change(NODE, set_drained(True))

    with pytest.raises(Deposed):
        await older.change(NODE, set_drained(False))


async def test_what_an_agent_wrote_meanwhile_is_kept(bus: Bus) -> None:
    bucket = fresh()
    leader = await plans(bus, bucket, 5)
    await leader.change(NODE, lambda plan: plan)
    records = await Bucket.open(bus, bucket, NodePlan)
    found = await records.get(NODE)
    assert found
    by_agent = NodePlan(node=NODE, epoch=found[0].epoch, placements=())
    await records.swap(NODE, by_agent, found[1])

    assert (await leader.change(NODE, set_drained(True))).is_drained
