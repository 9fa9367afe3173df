"""An engine's life: which kind its model wants, loading, serving, the last word."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from proto.group import Group
from services.host import Host
from services.runner.engine.embedding.service import ReadingEngine
from services.runner.engine.group.gathering import Gathering
from services.runner.engine.group.service import FollowingEngine
from services.runner.engine.loading import Source, locate
from services.runner.engine.not_loadable import NotLoadable
from services.runner.engine.presence.activity import Activity
from services.runner.engine.presence.presence import Presence
from services.runner.engine.service import Engine
from services.runner.engine.settings import read
from services.runner.models.kind import kind_of

DRAIN_S = 4.0
"""How long running answers may go on after the engine was asked to stop."""
ABANDON_S = 0.5

log = logging.getLogger(__name__)

T = TypeVar("T")


class Serving(Protocol):
    """What the kinds of engines have in common."""

    async def load(self) -> bool:
        """False when the engine was asked to stop meanwhile. Raises NotLoadable."""

    async def answer(self) -> None:
        """Hear what the kind is asked."""

    async def prepare(self) -> None:
        """Once it serves: what the first request of some kind would wait for."""

    def abandon(self) -> None:
        """End what still runs, so that it may go on elsewhere."""

    async def settled(self) -> None:
        """Return when the server has all that was answered."""


async def serve(host: Host) -> None:
    """Load the model, then serve it until asked to stop."""
    presence = Presence(host, read())
    async with asyncio.TaskGroup() as tasks:
        living = [tasks.create_task(presence.say()), tasks.create_task(presence.watch_agent())]
        trouble = await _live(presence)
        for task in living:
            task.cancel()
    if trouble is not None:
        log.error("%s", trouble)
        logging.shutdown()
        # Nothing after the last word: mlx's threads do not always survive the end of Python.
        os._exit(os.EX_DATAERR)


async def _live(presence: Presence) -> NotLoadable | None:
    """Returns why the model cannot be served, if that is so."""
    host = presence.host
    try:
        found = _aside(lambda: locate(presence.settings.source, host.home))
        source = await presence.host.unless_stopped(asyncio.wrap_future(found))
    except NotLoadable as trouble:
        return trouble
    if source is None:
        return None
    async with _engine_for(source, presence) as engine:
        return await _serve(engine, presence)


def _engine_for(source: Source, presence: Presence) -> AbstractAsyncContextManager[Serving]:
    kind = kind_of(source.folder, source.id)
    group = presence.settings.group
    if group is not None:
        return _rank_of(group, presence)
    if kind == "generator":
        return Engine.open(presence)
    return ReadingEngine.open(presence, source, kind)


@asynccontextmanager
async def _rank_of(group: Group, presence: Presence) -> AsyncIterator[Serving]:
    async with Gathering.open(presence.host, presence.settings, group) as gathering:
        if group.leader != presence.settings.engine:
            yield FollowingEngine(presence, gathering)
            return
        async with Engine.open(presence, gathering) as engine:
            yield engine


async def _serve(engine: Serving, presence: Presence) -> NotLoadable | None:
    try:
        if not await engine.load():
            return None
    except NotLoadable as trouble:
        return trouble
    log.info("serving %s", presence.card)
    await engine.answer()
    await presence.host.bus.settled()
    presence.state = "ready"
    presence.activity.rest()
    async with asyncio.TaskGroup() as tasks:
        preparing = tasks.create_task(engine.prepare())
        await presence.host.stopping.wait()
        preparing.cancel()
    presence.state = "draining"
    await drain(engine, presence.activity)
    await engine.settled()
    await presence.leave()
    return None


async def drain(engine: Serving, activity: Activity) -> None:
    """Let what runs finish for a while, then end it."""
    if not await activity.ends_within(DRAIN_S):
        engine.abandon()
        await activity.ends_within(ABANDON_S)


def _aside(work: Callable[[], T]) -> Future[T]:
    """On a thread that ends with the process, since a download ends for nobody."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as failure:  # noqa: BLE001 - handed to whoever waits for it
            done.set_exception(failure)

    threading.Thread(target=run, name="locating", daemon=True).start()
    return done
