"""Engines of one model on a bus of their own, and who asks them as a gateway does."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bus.connection import Bus
from bus.fleet import Fleet
from bus.presence import beat
from bus.stream import TokenSource
from bus.token_stream import TokenStream
from ops.bench._children import NotStarted, running
from proto.errors import Code, MeshError
from proto.frames import Delta, End, Failed
from proto.generation import Generate, Sampling
from proto.ids import EngineId, GatewayId, ModelId, NodeId, RequestId, SessionId, fresh
from proto.presence import GatewayBeat, NodeBeat
from proto.prompt import Chat
from proto.subjects import GATEWAY_BEAT, GENERATE, NODE_BEAT

START_S = 120.0
GATEWAY = GatewayId("bench.caller")
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Answer:
    first_s: float
    """From the question, the choice of an engine included, to the first text."""
    prompt_tokens: int
    cached_tokens: int
    text: str


@asynccontextmanager
async def scheduler(url: str, home: Path) -> AsyncIterator[None]:
    """One scheduler process. It answers once it has heard a round of heartbeats."""
    async with service("services.scheduler", url, home, {}):
        yield


@asynccontextmanager
async def replicas(
    url: str, home: Path, model: Path, names: Iterable[str], cache_bytes: int
) -> AsyncIterator[None]:
    """A process for each, on a node of its own."""
    async with AsyncExitStack() as stack:
        for name in names:
            told = {
                "ODYSSAI_ENGINE": f"{name}.replica",
                "ODYSSAI_NODE": name,
                "ODYSSAI_BOOT": fresh(),
                "ODYSSAI_SOURCE": str(model),
                "ODYSSAI_CACHE_BYTES": str(cache_bytes),
            }
            await stack.enter_async_context(service("services.runner.engine", url, home, told))
        yield


@asynccontextmanager
async def service(module: str, url: str, home: Path, told: dict[str, str]) -> AsyncIterator[None]:
    """One process of the mesh. ``told``: its settings beside where the bus and its home are."""
    environment = {"ODYSSAI_NATS": url, "ODYSSAI_HOME": str(home), "ODYSSAI_LOG": "warning"}
    log = home / f"{told.get('ODYSSAI_ENGINE', module)}.log"
    async with running((sys.executable, "-m", module), log, {**environment, **told}):
        yield


class Caller:
    """A gateway as far as engines can tell, and the agent of their nodes."""

    def __init__(self, bus: Bus, source: TokenSource, model: ModelId) -> None:
        self.bus = bus
        self.model = model
        self.fleet = Fleet()
        self._source = source

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, model: ModelId, nodes: Iterable[str]
    ) -> AsyncIterator["Caller"]:
        async with (
            Bus.connect(url, "bench") as bus,
            TokenSource.connect(bus, GATEWAY) as source,
            asyncio.TaskGroup() as tasks,
        ):
            caller = cls(bus, source, model)
            await caller.fleet.follow(bus)
            living = [tasks.create_task(_be_gateway(bus))]
            living += [tasks.create_task(be_agent(bus, NodeId(node))) for node in nodes]
            yield caller
            for task in living:
                task.cancel()

    async def holders(self, count: int) -> list[EngineId]:
        """Once there are so many engines of the model, and no others. Raises NotStarted."""
        end = time.monotonic() + START_S
        while len(found := self.fleet.holders(self.model)) != count:
            if time.monotonic() > end:
                raise NotStarted(f"{len(found)} engines of {count} serve after {START_S:g} s")
            await asyncio.sleep(0.1)
        return [beat.engine for beat in found]

    async def ask(
        self, engine: EngineId, chat: Chat, session: SessionId, max_tokens: int, asked_at: float
    ) -> Answer:
        """``asked_at`` is monotonic, from before the engine was chosen. Raises MeshError."""
        request = RequestId(fresh())
        question = Generate(
            request=request,
            gateway=GATEWAY,
            model=self.model,
            prompt=chat,
            sampling=GREEDY,
            max_tokens=max_tokens,
            session=session,
        )
        stream = self._source.open(request)
        stream.attach(engine, 0)
        try:
            await self.bus.ask(GENERATE, question, engine, timeout_s=60)
            return await _read(stream, asked_at)
        finally:
            self._source.close(stream)


async def _read(stream: TokenStream, asked_at: float) -> Answer:
    first_s, said = 0.0, ""
    while True:
        await stream.ready()
        for frame in stream.take():
            if isinstance(frame, Delta):
                first_s = first_s or time.monotonic() - asked_at
                said += frame.text
            elif isinstance(frame, Failed):
                raise MeshError(Code.of(frame.code), frame.message)
            elif isinstance(frame, End):
                usage = frame.usage
                return Answer(first_s, usage.prompt_tokens, usage.cached_tokens, said)


async def _be_gateway(bus: Bus) -> None:
    state = GatewayBeat(gateway=GATEWAY, boot=fresh(), pid=os.getpid(), url="")
    await beat(bus, GATEWAY, (GATEWAY_BEAT,), lambda: state)


async def be_agent(bus: Bus, node: NodeId) -> None:
    """An engine ends when its node's agent falls silent."""
    state = NodeBeat(node=node, boot=fresh(), pid=os.getpid(), host="bench", platform=sys.platform)
    await beat(bus, node, (NODE_BEAT,), lambda: state)
