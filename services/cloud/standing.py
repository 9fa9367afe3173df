"""The upstreams that one process stands for, which come, change and go while it runs."""

import asyncio
from collections.abc import Mapping

from bus.presence import farewell
from bus.sink import TokenSink
from proto.ids import CLOUD, EngineId, fresh
from proto.presence import EngineBeat, Gone
from services.cloud.providers.clients import client_of, is_same_way
from services.cloud.providers.memory import CatalogMemory
from services.cloud.relay import Relay
from services.cloud.settings import Upstream
from services.host import Host


class Stand:
    """One upstream as an engine of the mesh, from its coming to its end."""

    def __init__(self, host: Host, upstream: Upstream, memory: CatalogMemory) -> None:
        self.upstream = upstream
        self.relay: Relay | None = None
        """None until it is connected."""
        self.is_known = asyncio.Event()
        """Others know its models."""
        self._host = host
        self._memory = memory
        self._is_over = asyncio.Event()

    def leave(self) -> None:
        """Its provider was taken away."""
        self._is_over.set()

    async def change(self, upstream: Upstream) -> None:
        before, self.upstream = self.upstream, upstream
        if self.relay is not None and before != upstream:
            client = None if is_same_way(before, upstream) else client_of(upstream)
            await self.relay.change(upstream, client)

    async def serve(self) -> None:
        """Until it is to leave, or the process is asked to end."""
        # An engine that said farewell is believed by nobody any more: each has an id of its own.
        engine = EngineId(f"{CLOUD}.{self.upstream.name}-{fresh()}")
        async with TokenSink.connect(self._host.bus.url, engine) as sink:
            upstream = self.upstream
            relay = Relay(
                self._host, upstream, client_of(upstream), engine, sink, self._memory.keep
            )
            self.relay = relay
            relay.catalog.recall(self._memory.of(upstream))
            try:
                async with asyncio.TaskGroup() as tasks:
                    living = [tasks.create_task(relay.serve()), tasks.create_task(self._tell())]
                    await self._host.unless_stopped(self._is_over.wait())
                    if self._is_over.is_set():
                        await relay.leave()
                    await relay.drain()
                    for task in living:
                        task.cancel()
            finally:
                await relay.close()
                gone = Gone(kind="engine", id=engine, boot=self._host.boot, why="stopped")
                await farewell(self._host.bus, gone)

    async def _tell(self) -> None:
        assert self.relay, "it is connected"
        await self.relay.told()
        self.is_known.set()


class Standing:
    """All of them, by name."""

    def __init__(self, host: Host, tasks: asyncio.TaskGroup, memory: CatalogMemory) -> None:
        self.stands: dict[str, Stand] = {}
        self._host = host
        self._tasks = tasks
        self._memory = memory
        self._serving: set[asyncio.Task[None]] = set()

    async def settle(self, wanted: Mapping[str, Upstream]) -> None:
        """Stand for these and no others from now on."""
        for name in self.stands.keys() - wanted.keys():
            self.stands.pop(name).leave()
        for name, upstream in wanted.items():
            if name in self.stands:
                await self.stands[name].change(upstream)
            else:
                self._begin(name, upstream)

    def _begin(self, name: str, upstream: Upstream) -> None:
        stand = self.stands[name] = Stand(self._host, upstream, self._memory)
        task = self._tasks.create_task(stand.serve())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def beat_of(self, name: str) -> EngineBeat | None:
        stand = self.stands.get(name)
        return stand.relay.describe() if stand and stand.relay else None

    async def known(self) -> None:
        """Return when others know the models of all that there are now."""
        await asyncio.gather(*(stand.is_known.wait() for stand in self.stands.values()))

    async def ended(self) -> None:
        await asyncio.gather(*self._serving)
