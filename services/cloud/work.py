"""What an upstream was asked and has not answered yet."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from bus.gateways import Gateways
from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.ids import GatewayId, RequestId
from services.cloud.running import Running
from services.cloud.turns import Ticket, Turns
from services.host import HANDOVER_S, Host

log = logging.getLogger(__name__)

DRAIN_S = 7.0
"""How long running requests may go on when the process is asked to end."""


class Work:
    """Requests that wait for an upstream or are at it, by id."""

    def __init__(self, host: Host, name: str, slots: Callable[[], int]) -> None:
        """``slots``: how many the upstream may have at once, as things are now."""
        self._host = host
        self._slots = slots
        self._turns = Turns(name, slots())
        self._running: dict[RequestId, Running] = {}
        self._gateways = Gateways(
            host.bus,
            lambda: (running.gateway for running in self._running.values() if running.gateway),
            self._release,
        )
        self.is_leaving = False
        """Nothing new is taken."""
        self.events = 0
        """Answers and pieces of them that came."""

    async def watch(self) -> None:
        """Whose gateway is heard no more is ended."""
        await self._gateways.watch()

    @property
    def turns(self) -> Turns:
        """With as many slots as there are now."""
        self._turns.slots = self._slots()
        return self._turns

    def of(self, request: RequestId) -> Running | None:
        return self._running.get(request)

    def take(self, asked: Generate | Embed | Rerank) -> Ticket:
        """Raises MeshError."""
        if self.is_leaving:
            raise MeshError(Code.NO_ENGINE, "This engine takes no requests.", retry_after_s=1.0)
        return self.turns.take(asked.key, asked.weight, asked.priority)

    def begin(
        self, asked: Generate | Embed | Rerank, task: asyncio.Task[Any], ticket: Ticket
    ) -> None:
        self._running[asked.request] = Running(asked.gateway, task, ticket)
        self._gateways.hear(asked.gateway)

    def over(self, request: RequestId, ticket: Ticket) -> None:
        self._running.pop(request, None)
        self._turns.leave(ticket)

    def _end(self, request: RequestId, why: MeshError) -> None:
        running = self._running[request]
        running.why = why
        running.task.cancel()

    def _release(self, gateway: GatewayId) -> None:
        """Nobody reads there any more, and the upstream counts every token."""
        for request, running in self._running.items():
            if running.gateway == gateway:
                log.info("ending %s: its gateway is gone", request)
                self._end(request, MeshError(Code.ENGINE_LOST, "Its gateway was heard no more."))

    @property
    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [running.task for running in self._running.values()]

    async def leave(self) -> None:
        """Take nothing new, and let what runs finish: the operator took its provider away."""
        self.is_leaving = True
        if tasks := self._tasks:
            await self._host.unless_stopped(asyncio.wait(tasks, timeout=HANDOVER_S))

    async def drain(self) -> None:
        """Take nothing new, and end what has not ended by itself when the time is over."""
        self.is_leaving = True
        await self._host.grace(self._tasks, DRAIN_S)
        for request in self._running:
            self._end(request, MeshError(Code.ENGINE_LOST, "The cloud service is stopping."))

    async def close(self) -> None:
        tasks = self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
