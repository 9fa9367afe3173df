"""The ranks of a group as processes on the bus.

The leader is an engine like any other, whose passes the others make with it. The others answer
nobody: the mesh knows that they are there, and how far they are.
"""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import Future

import mlx.core as mx
from msgspec.structs import replace

from proto.presence import EngineBeat
from services.runner.engine.batching.execution import PassesEnd
from services.runner.engine.group.following import Follower
from services.runner.engine.group.gathering import Gathering, Pace
from services.runner.engine.group.joining import Joined, join
from services.runner.engine.presence.presence import Presence
from services.runner.engine.versions import versions

log = logging.getLogger(__name__)


def joined(gathering: Gathering, presence: Presence) -> Joined:
    """On the model's thread, once the group is formed. Raises NotLoadable.

    The process ends where the others can be met no more.
    """
    settings = presence.settings
    try:
        rank = join(
            gathering.group,
            settings.source,
            presence.host.home,
            versions(),
            gathering.told,
            gathering.wake,
        )
    except PassesEnd as trouble:
        gathering.lost(str(trouble), trouble.status)
        raise
    gathering.told("ready", proof=rank.proof)
    return rank


class FollowingEngine:
    """Any rank but the first: it serves whoever asks its leader."""

    def __init__(self, presence: Presence, gathering: Gathering) -> None:
        self._presence = presence
        self._gathering = gathering
        self._loop = asyncio.get_running_loop()
        self._follower: Future[Follower] = Future()
        presence.describe = self._describe
        gathering.pace = self._pace

    async def load(self) -> bool:
        """False when it was asked to stop meanwhile. Raises NotLoadable."""
        host = self._presence.host
        if await host.unless_stopped(self._gathering.formed()) is None:
            return False
        threading.Thread(target=self._run, name="model", daemon=True).start()
        return await host.unless_stopped(asyncio.wrap_future(self._follower)) is not None

    async def answer(self) -> None:
        """Nobody asks it anything. It is at work until its leader ends."""
        self._presence.activity.note(1)

    async def prepare(self) -> None:
        """Nothing is left to make ready."""

    def abandon(self) -> None:
        """Its leader ends what runs."""

    async def settled(self) -> None:
        """It said nothing that could be on its way."""

    def _run(self) -> None:
        """On the model's thread."""
        try:
            rank = joined(self._gathering, self._presence)
            follower = Follower(rank, self._presence.settings.slots, self._gathering.rest)
        except BaseException as failure:  # noqa: BLE001 - handed to whoever waits for it
            self._follower.set_exception(failure)
            return
        self._follower.set_result(follower)
        try:
            follower.follow()
        except BaseException as failure:
            log.exception("this rank cannot go on")
            status = failure.status if isinstance(failure, PassesEnd) else os.EX_SOFTWARE
            self._gathering.lost(str(failure), status)
        self._loop.call_soon_threadsafe(self._is_over)

    def _is_over(self) -> None:
        if not self._presence.host.stopping.is_set():
            self._gathering.lost(f"{self._gathering.group.leader} has ended")
        self._presence.activity.note(0)

    def _describe(self, plain: EngineBeat) -> EngineBeat:
        pace = self._pace()
        return replace(
            plain,
            steps=pace.steps,
            stalled_s=pace.busy_s,
            memory_bytes=max(plain.memory_bytes, pace.memory_bytes),
        )

    def _pace(self) -> Pace:
        memory_bytes = mx.get_active_memory() + mx.get_cache_memory()
        if not self._follower.done() or self._follower.exception() is not None:
            return Pace(memory_bytes=memory_bytes)
        progress = self._follower.result().progress
        since = progress.busy_since
        busy_s = 0.0 if since is None else round(time.monotonic() - since, 3)
        return Pace(progress.steps, busy_s, memory_bytes)
