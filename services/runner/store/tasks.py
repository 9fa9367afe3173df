"""The tasks of a node's plan: begun once, paused, taken up again, ended, as the plan says."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proto.errors import Code, MeshError
from proto.ids import JobId
from proto.plan import WantedTask
from proto.presence import TaskPhase, TaskStatus
from proto.store import StoreTask
from services.runner.children.child import Progressed

log = logging.getLogger(__name__)

AT_ONCE = 3
"""Tasks that run side by side; they share a disk and a network. Others wait their turn."""
OVER: tuple[TaskPhase, ...] = ("done", "failed", "cancelled")


class Progress:
    """How far one task is, told by whoever carries it out."""

    def __init__(self) -> None:
        self.step = ""
        self.done_bytes = 0
        self.total_bytes = 0

    def hear(self, word: Progressed) -> None:
        self.step, self.done_bytes, self.total_bytes = word.step, word.done_bytes, word.total_bytes


Work = Callable[[StoreTask, Progress], Awaitable[None]]
"""Carries a task out; cancelled, it leaves what it has so that it can go on. Raises MeshError."""
Discard = Callable[[StoreTask], Awaitable[None]]
"""Deletes what an unfinished task left."""


class _Act:
    """One task and how it goes."""

    def __init__(self, wanted: WantedTask) -> None:
        self.task = wanted.task
        self.wanted = wanted.wanted
        self.phase: TaskPhase = "waiting"
        self.progress = Progress()
        self.trouble: MeshError | None = None
        self.running: asyncio.Task[None] | None = None
        """The work, or the tidying up after it."""
        self.is_ending = False
        """What runs was told to end, or ends by itself: it is not disturbed again."""

    def status(self) -> TaskStatus:
        return TaskStatus(
            job=self.task.job,
            phase=self.phase,
            step=self.progress.step,
            done_bytes=self.progress.done_bytes,
            total_bytes=self.progress.total_bytes,
            code=self.trouble.code.word if self.trouble else "",
            error=self.trouble.message if self.trouble else "",
        )


class Tasks:
    def __init__(self, work: Work, discard: Discard) -> None:
        self._work = work
        self._discard = discard
        self._acts: dict[JobId, _Act] = {}
        self._told: set[JobId] = set()
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)

    def set(self, wanted: tuple[WantedTask, ...]) -> None:
        """What the plan says now. What is not in it any more is cancelled and forgotten.

        One that is over begins anew only when it is wanted again after it was not.
        """
        for one in wanted:
            act = self._acts.setdefault(one.task.job, _Act(one))
            if act.wanted != "run" and one.wanted == "run" and act.phase in OVER:
                act.phase, act.trouble = "waiting", None
            act.wanted = one.wanted
        self._told = {one.task.job for one in wanted}
        for job in self._acts.keys() - self._told:
            self._acts[job].wanted = "cancel"
        self._news.set()

    def statuses(self) -> tuple[TaskStatus, ...]:
        return tuple(act.status() for act in self._acts.values())

    async def run(self) -> None:
        """For ever; ended, it ends the tasks and leaves what they have."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                self._news.clear()
                for job, act in list(self._acts.items()):
                    self._steer(act, group)
                    if act.phase in OVER and job not in self._told:
                        del self._acts[job]

    def _steer(self, act: _Act, group: asyncio.TaskGroup) -> None:
        if act.running is not None:
            if act.wanted != "run" and not act.is_ending:
                act.is_ending = True
                act.running.cancel()
        elif act.phase in OVER:
            return
        elif act.wanted == "pause":
            act.phase = "paused"
        elif act.wanted == "run":
            act.phase = "waiting"
            act.running = group.create_task(self._carry_out(act))
        else:
            act.is_ending = True
            act.running = group.create_task(self._drop(act))

    async def _carry_out(self, act: _Act) -> None:
        try:
            async with self._room:
                act.phase = "running"
                await self._work(act.task, act.progress)
            act.phase = "done"
        except MeshError as trouble:
            self._fail(act, trouble)
        except (OSError, ValueError) as trouble:
            log.exception("store: job %s", act.task.job)
            said = f"{trouble}; check the disk and the files, then try again"
            self._fail(act, MeshError(Code.INTERNAL, said))
        except asyncio.CancelledError:
            act.phase = "paused"  # Or cancelled: that is seen to next.
        self._is_idle(act)

    async def _drop(self, act: _Act) -> None:
        await self._discard(act.task)
        act.phase = "cancelled"
        self._is_idle(act)

    def _fail(self, act: _Act, trouble: MeshError) -> None:
        act.phase, act.trouble = "failed", trouble
        log.warning("store: job %s failed: %s", act.task.job, trouble.message)

    def _is_idle(self, act: _Act) -> None:
        act.running, act.is_ending = None, False
        self._news.set()
