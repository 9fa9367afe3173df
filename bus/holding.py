"""What an engine was told to hold, each as long as it is said again in time."""

import asyncio
from collections.abc import Callable

from bus.connection import Bus, Hearing
from bus.sink import TokenSink
from proto.generation import Hold
from proto.ids import EngineId, RequestId
from proto.subjects import HOLD

Act = Callable[[RequestId], None]


class Holding:
    """One engine's streams whose clients do not read."""

    def __init__(self, sink: TokenSink, hold: Act, go_on: Act) -> None:
        """``hold`` and ``go_on`` are called once for each change; the request may be over."""
        self._sink = sink
        self._hold = hold
        self._go_on = go_on
        self._ends: dict[RequestId, asyncio.TimerHandle] = {}

    async def follow(self, bus: Bus, engine: EngineId) -> Hearing:
        return await bus.listen(HOLD, self.hear, engine)

    def hear(self, said: Hold) -> None:
        if self._sink.epoch_of(said.request) != said.epoch:
            return
        self._sink.forget(said.request, said.seq)
        end = self._ends.pop(said.request, None)
        if end is not None:
            end.cancel()
        if said.for_s > 0:
            loop = asyncio.get_running_loop()
            self._ends[said.request] = loop.call_later(said.for_s, self._release, said.request)
            if end is None:
                self._hold(said.request)
        elif end is not None:
            self._go_on(said.request)

    def _release(self, request: RequestId) -> None:
        del self._ends[request]
        self._go_on(request)
