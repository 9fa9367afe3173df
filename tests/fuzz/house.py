"""A gateway in this process with a scripted engine behind it, on an event loop of its own, so that
hypothesis may ask it from outside.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import fresh, gateway_id
from proto.presence import GatewayBeat
from proto.subjects import GATEWAY_BEAT
from tests.unit.gateway import scripted

READY_S = 30.0


@contextmanager
def gateway(nats_url: str, home: Path) -> Iterator[str]:
    """Its address, once it knows the engine."""
    ready: list[str] = []
    known, over = threading.Event(), threading.Event()

    async def live() -> None:
        async with (
            scripted.scheduler(nats_url) as scheduler,
            scripted.engine(nats_url) as engine,
            scripted.gateway(nats_url, home) as host,
            Bus.connect(nats_url, f"test:{fresh()}") as bus,
        ):
            scheduler.refusal = MeshError(Code.MODEL_NOT_FOUND, "There is no such model.")
            await bus.listen(
                GATEWAY_BEAT, lambda beat: _hear(beat, ready), gateway_id(host.service, host.id)
            )
            while not ready:
                await asyncio.sleep(0.01)
            async with httpx.AsyncClient(base_url=ready[0], trust_env=False) as http:
                while (await http.get("/ready")).is_error:
                    await engine.say()
            known.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(live(),), name="gateway")
    thread.start()
    try:
        assert known.wait(READY_S)
        yield ready[0]
    finally:
        over.set()
        thread.join(READY_S)


def _hear(beat: GatewayBeat, ready: list[str]) -> None:
    if not ready:
        ready.append(beat.url)
