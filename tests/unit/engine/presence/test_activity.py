"""Since when an engine has nothing to do."""

import asyncio

from services.runner.engine.presence.activity import Activity


class Clock:
    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


def test_idleness_counts_from_the_end_of_the_last_request() -> None:
    clock = Clock()
    activity = Activity(clock)
    clock.now_s = 15.0
    assert activity.idle_s() == 5.0

    for requests in (1, 2, 1):
        activity.note(requests)
        clock.now_s += 1
        assert activity.idle_s() == 0.0

    activity.note(0)
    assert activity.idle_s() == 0.0
    clock.now_s += 3
    activity.note(0)
    assert activity.idle_s() == 3.0


async def test_the_end_of_all_requests_is_waited_for_no_longer_than_told() -> None:
    activity = Activity()
    assert await activity.ends_within(0.0)
    activity.note(1)
    assert not await activity.ends_within(0.0)

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(activity.ends_within(10.0))
        await asyncio.sleep(0)
        activity.note(0)

    assert waiting.result()
