import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bus.connection import Bus
from proto.ids import NodeId, fresh
from services.host import Host
from services.runner.store.store import ModelStore


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache of this test, empty."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "ODYSSAI_MODEL_DIRS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hf" / "hub"


@asynccontextmanager
async def living(store: ModelStore) -> AsyncIterator[ModelStore]:
    """Runs it, and waits until it knows what is there."""
    running = asyncio.create_task(store.run())
    async with asyncio.timeout(20):
        await store.is_known.wait()
    try:
        yield store
    finally:
        while not running.done():  # Libraries swallow a cancellation now and then.
            running.cancel()
            await asyncio.wait({running}, timeout=1.0)
        with suppress(asyncio.CancelledError):
            running.result()


@pytest.fixture
def new_store(bus: Bus, tmp_path: Path):
    """A store of a node of its own; the bus is shared."""

    def new(name: str = "") -> ModelStore:
        node = NodeId(name or f"node-{fresh()}")
        return ModelStore(Host("runner", node, bus, tmp_path / "homes" / node), node)

    return new


async def until(store, job, *phases):
    """The status of a task, as soon as it is in one of these phases."""
    async with asyncio.timeout(40):
        while True:
            status = next((s for s in store.tasks() if s.job == job), None)
            if status is not None and status.phase in phases:
                return status
            await asyncio.sleep(0.01)


async def until_there(store, name):
    async with asyncio.timeout(10):
        while (model := store.find(name)) is None:
            await asyncio.sleep(0.01)
        return model
