"""Models that an engine near by was told to load or unload: how far that is."""

import asyncio
import time
from collections.abc import Callable

from proto.enrolment import LoadedSet
from proto.ids import ModelId
from services.cloud.engines.neighbour import Neighbour

PROMPT_S = 0.2
"""Who does it at once is waited for."""
REMEMBERED_S = 10.0
"""After the end of it, whoever asks again hears of that and starts nothing."""


class Loading:
    """Each is under way once, however often it is asked for."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._under_way: dict[tuple[ModelId, bool], asyncio.Task[None]] = {}
        self._done: dict[tuple[ModelId, bool], float] = {}

    async def set(self, engine: Neighbour, model: ModelId, *, is_loaded: bool) -> LoadedSet:
        """Raises MeshError once for each attempt that failed."""
        wish = (model, is_loaded)
        self._done.pop((model, not is_loaded), None)
        if self._now() - self._done.get(wish, -REMEMBERED_S) < REMEMBERED_S:
            return LoadedSet(phase="done")
        task = self._under_way.get(wish)
        if task is None:
            order = engine.load if is_loaded else engine.unload
            task = self._under_way[wish] = asyncio.create_task(order(model))
        await asyncio.wait({task}, timeout=PROMPT_S)
        if not task.done():
            return LoadedSet(phase="under way")
        self._under_way.pop(wish, None)
        task.result()
        self._done[wish] = self._now()
        return LoadedSet(phase="done")

    def stop(self) -> None:
        for task in self._under_way.values():
            task.cancel()
