"""Models that are on a node's disk and not loaded."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from bus.connection import Bus
from bus.state import Bucket
from proto.ids import NodeId, fresh
from proto.memory import Footprint
from proto.presence import NodeBeat
from proto.store import STORES, Store, StoredModel
from proto.subjects import NODE_BEAT
from tests.unit.gateway.scripted import scheduler

FOOTPRINT = Footprint(weights_bytes=5, kv_bytes_per_token=1, context_length=4096)


def stored(id: str, **fields: object) -> StoredModel:
    plain = {"source": id, "fingerprint": "f", "disk_bytes": 7, "footprint": FOOTPRINT}
    return StoredModel(id=id, **(plain | fields))


SHELF = (stored("org/asleep", aliases=("asleep",)), stored("org/vectors", kind="embedder"))


@pytest.fixture
async def node(bus: Bus, http: httpx.AsyncClient) -> AsyncIterator[NodeId]:
    """A node that is heard, and whose store the gateway has read."""
    node = NodeId(f"shelf-{fresh().lower()}")
    beat = NodeBeat(node=node, boot="b", pid=1, host="h", platform="p")
    stores = await Bucket.open(bus, STORES, Store)
    await stores.put(node, Store(node=node, models=SHELF))

    async def live() -> None:
        while True:
            await bus.publish(NODE_BEAT, beat, node)
            await asyncio.sleep(0.1)

    living = asyncio.create_task(live())
    async with asyncio.timeout(5):
        while (await http.get("/v1/models/org/asleep")).status_code != 200:
            await asyncio.sleep(0.01)
    yield node
    living.cancel()
    await stores.delete(node)


async def test_a_stored_model_is_listed_where_that_is_asked_for(http, node):
    listed = (await http.get("/v1/models", params={"include_unloaded": "true"})).json()["data"]
    known = {entry["id"]: entry["x_odyssai"] for entry in listed}

    assert known["org/asleep"]["nodes"] == [node]
    assert known["org/asleep"]["context_length"] == 4096
    assert known["asleep"]["alias_for"] == "org/asleep"
    for flag, value in {"ready": False, "loaded": False, "admin_loadable": True}.items():
        assert known["org/vectors"][flag] is value


async def test_a_model_that_is_only_stored_is_not_among_those_that_serve(http, node):
    listed = (await http.get("/v1/models")).json()["data"]

    assert "org/asleep" not in {entry["id"] for entry in listed}


async def test_ollamas_clients_find_stored_models_by_every_name(http, node):
    tags = {model["name"] for model in (await http.get("/api/tags")).json()["models"]}

    assert {"org/asleep:latest", "asleep:latest", "org/vectors:latest"} <= tags
    shown = await http.post("/api/show", json={"model": "asleep"})
    assert shown.json()["model_info"]["unknown.context_length"] == 4096


async def test_a_stored_model_of_another_kind_is_refused_before_it_is_loaded(http, node):
    answer = await http.post("/v1/embeddings", json={"model": "org/asleep", "input": "Hi"})

    assert answer.status_code == 400
    assert "of kind llm" in answer.json()["error"]["message"]


async def test_ollamas_request_without_words_waits_until_the_model_is_loaded(http, node, nats_url):
    async with scheduler(nats_url) as loading:
        asking = asyncio.create_task(http.post("/api/generate", json={"model": "asleep"}))
        asked = await asyncio.wait_for(loading.questions.get(), 5)
        assert not asking.done()
        asking.cancel()

    assert asked.model == "asleep"
