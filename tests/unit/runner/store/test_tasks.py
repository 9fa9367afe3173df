"""Tasks begin, pause, go on and end as the plan says."""

import asyncio
from contextlib import suppress

import pytest

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId
from proto.plan import WantedTask
from proto.store import DeleteTask
from services.runner.store.tasks import AT_ONCE, Tasks


class Workshop:
    """Work that goes on until it is let go; it notes what it was told."""

    def __init__(self):
        self.told = []
        self.may_end = asyncio.Event()
        self.trouble = None

    async def work(self, task, progress):
        self.told.append(("begin", task.job))
        await self.may_end.wait()
        if self.trouble:
            raise self.trouble

    async def discard(self, task):
        self.told.append(("discard", task.job))


def want(job, wanted="run") -> WantedTask:
    return WantedTask(task=DeleteTask(job=JobId(job), model=ModelId("m")), wanted=wanted)


@pytest.fixture
def shop():
    return Workshop()


@pytest.fixture
async def tasks(shop):
    tasks = Tasks(shop.work, shop.discard)
    running = asyncio.create_task(tasks.run())
    yield tasks
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def settle():
    """Until all that can go on without the outside has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


def phases(tasks):
    return {status.job: status.phase for status in tasks.statuses()}


async def test_a_task_is_begun_once_however_often_the_plan_is_told(tasks, shop):
    for _ in range(3):
        tasks.set((want("a"),))
        await settle()
    shop.may_end.set()
    await settle()
    tasks.set((want("a"),))
    await settle()

    assert (shop.told, phases(tasks)) == ([("begin", "a")], {"a": "done"})


async def test_a_paused_task_goes_on_and_a_cancelled_one_is_tidied_up(tasks, shop):
    tasks.set((want("a"), want("b")))
    await settle()
    tasks.set((want("a", "pause"), want("b", "cancel")))
    await settle()
    assert phases(tasks) == {"a": "paused", "b": "cancelled"}

    tasks.set((want("a"), want("b", "cancel")))
    await settle()

    assert phases(tasks) == {"a": "running", "b": "cancelled"}
    assert shop.told == [("begin", "a"), ("begin", "b"), ("discard", "b"), ("begin", "a")]


async def test_a_task_that_leaves_the_plan_is_cancelled_and_forgotten(tasks, shop):
    tasks.set((want("a"),))
    await settle()
    tasks.set(())
    await settle()

    assert (shop.told[-1], tasks.statuses()) == (("discard", "a"), ())


async def test_a_failed_task_says_why_and_is_tried_again_when_it_is_wanted_again(tasks, shop):
    shop.trouble = MeshError(Code.NO_DISK, "buy a disk")
    shop.may_end.set()
    tasks.set((want("a"),))
    await settle()
    failed = tasks.statuses()[0]
    assert (failed.phase, failed.code, failed.error) == (
        "failed",
        Code.NO_DISK.word,
        "buy a disk",
    )

    shop.trouble = None
    tasks.set((want("a", "pause"),))
    tasks.set((want("a"),))
    await settle()

    assert (phases(tasks), tasks.statuses()[0].error) == ({"a": "done"}, "")


async def test_more_tasks_than_run_at_once_wait_their_turn(tasks, shop):
    jobs = [f"j{number}" for number in range(AT_ONCE + 1)]
    tasks.set(tuple(map(want, jobs)))
    await settle()
    assert list(phases(tasks).values()) == ["running"] * AT_ONCE + ["waiting"]

    shop.may_end.set()
    await settle()

    assert set(phases(tasks).values()) == {"done"}
