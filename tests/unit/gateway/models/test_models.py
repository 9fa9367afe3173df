"""What is told of models: true of each, in both dialects, a page at a time."""

import anthropic as anthropic_sdk
import httpx
import pytest

from bus.state import Bucket
from proto.ids import EngineId, ModelId, NodeId
from proto.state import ENGINES, EngineRecord
from proto.subjects import ENGINE_BEAT
from tests.unit.gateway.scripted import ALIAS, MODEL, ScriptedEngine

FLAGS = ("tools", "vision", "json_mode", "streaming", "reasoning", "embeddings", "rerank")


async def shown(http: httpx.AsyncClient, name: str = MODEL, **query: str) -> dict:
    return (await http.get(f"/v1/models/{name}", params=query)).json()["x_odyssai"]


async def become(scripted: ScriptedEngine, http: httpx.AsyncClient, **card: object) -> dict:
    """Another model under the same name, once the gateway has heard of it."""
    before = await shown(http)
    scripted.can = card
    while (now := await shown(http)) == before:
        await scripted.say()
    return now


def flags(known: dict) -> set[str]:
    return {flag for flag in FLAGS if known[f"supports_{flag}"]}


@pytest.mark.parametrize(
    ("card", "can"),
    [
        ({"calls_tools": True}, {"streaming", "tools"}),
        ({"reasons": True, "keeps_formats": True}, {"streaming", "reasoning", "json_mode"}),
        ({"kind": "vlm"}, {"streaming", "vision"}),
        ({"kind": "embedder", "embedding_size": 384}, {"embeddings"}),
        ({"kind": "reranker"}, {"rerank"}),
    ],
)
async def test_every_flag_is_true_of_the_model(http, scripted, card, can):
    known = await become(scripted, http, **card)

    assert flags(known) == can
    assert known["kind"] == card.get("kind", "llm")
    assert known["embedding_size"] == card.get("embedding_size", 0)
    assert known["modalities"] == (["text", "image"] if "vision" in can else ["text"])
    assert known["max_output_tokens"] == (2048 if "streaming" in can else 0)
    contract = (await http.get("/.well-known/inference-engine.json")).json()
    promised = contract["capabilities"]
    assert {name for name in ("tools", "vision", "embeddings", "rerank", "reasoning")
            if promised[name]} == can - {"streaming", "json_mode"}  # fmt: skip
    assert promised["structured_outputs"] is ("json_mode" in can)
    names = {"tools": "tool-calling", "json_mode": "structured-outputs"}
    offered = {names.get(flag, flag) for flag in can - {"streaming"}}
    assert offered == set(contract["features"]) - {
        "sse-streaming", "prefix-cache", "openai-models-extended",
    }  # fmt: skip


async def test_speed_is_measured_and_a_model_is_warm_once_it_has_worked(http, scripted, bus):
    known = await shown(http)
    assert (known["estimated_tps"], known["warm"]) == (0.0, False)

    while not known["warm"]:
        beat = scripted.beat(answer_tokens_per_s=42.5, steps=7)
        await bus.publish(ENGINE_BEAT, beat, scripted.id)
        await bus.settled()
        known = await shown(http)

    assert known["estimated_tps"] == 42.5


async def test_an_alias_says_what_it_stands_for(http):
    assert (await shown(http, ALIAS))["alias_for"] == MODEL
    assert (await shown(http))["alias_for"] is None


async def test_a_model_that_is_being_loaded_is_listed_on_demand(http, scripted, bus):
    loading = scripted.beat(
        engine="n1.e9", boot="b9", state="loading", models=(), loads=ModelId("org/big")
    )
    while True:
        await bus.publish(ENGINE_BEAT, loading, "n1.e9")
        await bus.settled()
        found = await http.get("/v1/models/org/big", params={"include_unloaded": "true"})
        if found.status_code == 200:
            break
    known = found.json()["x_odyssai"]

    assert (known["ready"], known["loaded"], known["loading"]) == (False, False, True)
    assert (known["engines"], known["nodes"]) == (["n1.e9"], ["n1"])
    assert (await http.get("/v1/models/org/big")).status_code == 404
    listed = [entry["id"] for entry in (await http.get("/v1/models")).json()["data"]]
    assert listed == [MODEL, ALIAS]


async def test_a_model_whose_engine_drains_is_held_and_not_ready(http, scripted, bus):
    card = scripted.beat().models[0]
    last = type(card)(id=ModelId("last"), context_length=1)
    leaving = scripted.beat(engine="n1.e8", boot="b8", state="draining", models=(last,))
    while True:
        await bus.publish(ENGINE_BEAT, leaving, "n1.e8")
        await bus.settled()
        found = await http.get("/v1/models/last", params={"include_unloaded": "1"})
        if found.status_code == 200:
            break
    known = found.json()["x_odyssai"]

    assert (known["ready"], known["loaded"], known["loading"]) == (False, True, False)


async def test_an_engine_that_fell_silent_is_remembered_without_its_path(http, bus):
    records = await Bucket.open(bus, ENGINES, EngineRecord)
    held = {
        "gone-1": ("/Volumes/models/Some-8B/", ("Some-8B", "some-8b")),
        "gone-2": ("/Volumes/models/Never-Loaded", ()),
        "gone-3": ("org/from-the-hub", ()),
    }
    for engine, (source, models) in held.items():
        record = EngineRecord(
            engine=EngineId(engine),
            node=NodeId("n2"),
            pid=1,
            started_s=0,
            source=source,
            models=tuple(map(ModelId, models)),
        )
        await records.put(engine, record)
    try:
        answer = await http.get("/v1/models", params={"include_unloaded": "true"})
    finally:
        for engine in held:
            await records.delete(engine)
    listed = {entry["id"]: entry["x_odyssai"] for entry in answer.json()["data"]}

    assert set(listed) >= {
        "Some-8B", "some-8b", "Never-Loaded", "org/from-the-hub", MODEL, ALIAS,
    }  # fmt: skip
    assert "/Volumes" not in answer.text
    assert (listed["some-8b"]["alias_for"], listed["Some-8B"]["alias_for"]) == ("Some-8B", None)
    assert not any(listed["Never-Loaded"][word] for word in ("ready", "loaded", "loading"))
    assert listed[MODEL]["ready"] is True


async def test_a_flag_that_is_none_is_refused(http):
    answer = await http.get("/v1/models", params={"include_unloaded": "maybe"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "include_unloaded"


async def test_the_sdk_pages_through_all_models(anthropic, http, scripted):
    names = tuple(f"m{at}" for at in range(6))
    await become(scripted, http, aliases=names, context_length=100)
    forward = [model.id async for model in anthropic.models.list(limit=2)]
    backward = [model.id async for model in anthropic.models.list(limit=3, before_id=MODEL)]
    first = await anthropic.models.list(limit=4)
    after = await anthropic.models.list(after_id="m3")

    assert forward == [*names, MODEL]
    assert sorted(backward) == list(names)
    assert (first.has_more, first.first_id, first.last_id) == (True, "m0", "m3")
    assert [model.id for model in after.data] == ["m4", "m5", MODEL]
    assert after.has_more is False
    assert (await anthropic.models.list(lifecycle=["retired"])).data == []


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": "x"}, {"limit": 1001}, {"after_id": "a", "before_id": "b"}]
)
async def test_a_page_that_cannot_be_is_refused_in_dialect(http, query):
    answer = await http.get("/v1/models", params=query, headers={"anthropic-version": "2023-06-01"})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_the_sdks_capabilities_are_all_there_and_true(anthropic, http, scripted):
    await become(scripted, http, reasons=True, keeps_formats=True, kind="vlm", context_length=9)
    can = (await anthropic.models.retrieve(MODEL)).capabilities

    assert can.thinking.supported
    assert can.thinking.types.enabled.supported
    assert can.effort.high.supported
    assert can.structured_outputs.supported
    assert can.image_input.supported
    assert not can.batch.supported
    assert not can.pdf_input.supported
    declared = anthropic_sdk.types.ModelCapabilities.model_fields
    assert set(can.model_dump()) == set(declared)


async def test_an_unknown_model_is_a_404_in_each_dialect(http, anthropic):
    openai = await http.get("/v1/models/absent")

    assert (openai.status_code, openai.json()["error"]["code"]) == (404, "model_not_found")
    with pytest.raises(anthropic_sdk.NotFoundError, match="absent"):
        await anthropic.models.retrieve("absent")


async def test_models_are_not_deleted_over_this_address(http):
    answer = await http.delete(f"/v1/models/{MODEL}")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert "/admin/models" in answer.json()["error"]["message"]
