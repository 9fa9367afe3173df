"""What each make tells of its models, and how it is told to load and unload them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.kinds import KINDS
from services.cloud.engines.probe import Probe
from tests.unit.cloud.engines import box as boxes
from tests.unit.cloud.engines.box import Answers, Box, box


@asynccontextmanager
async def at(answers: Answers) -> AsyncIterator[tuple[Box, Probe]]:
    async with box(answers) as engine:
        probe = Probe(engine.root, {})
        try:
            yield engine, probe
        finally:
            await probe.close()


async def cards(kind: ProviderKind, answers: Answers) -> dict[str, ModelCard]:
    async with at(answers) as (_, probe):
        look = await KINDS[kind]().look(probe)
    return {card.id: card for card in look.cards}


async def test_ollama_tells_what_is_loaded_and_what_each_can_do() -> None:
    told = await cards("ollama", boxes.OLLAMA)

    chat, embedder = told["qwen3:8b"], told["bge:latest"]
    assert (chat.context_length, chat.family, chat.quantization) == (4096, "qwen3", "Q4_K_M")
    assert (chat.calls_tools, chat.reasons, chat.sleeps) == (True, True, False)
    assert (embedder.kind, embedder.context_length, embedder.sleeps) == ("embedder", 512, True)


async def test_ollama_is_asked_about_a_model_s_files_once() -> None:
    async with at(boxes.OLLAMA) as (engine, probe):
        ollama = KINDS["ollama"]()
        await ollama.look(probe)
        await ollama.look(probe)

        assert len(engine.posted("/api/show")) == 2


async def test_lm_studio_tells_it_in_its_newer_way_and_its_older() -> None:
    told = await cards("lmstudio", boxes.LMSTUDIO)
    seer, embedder = told["gemma-3"], told["nomic"]
    assert (seer.kind, seer.context_length, seer.sleeps) == ("vlm", 4096, False)
    assert (embedder.kind, embedder.context_length, embedder.sleeps) == ("embedder", 2048, True)

    older = (await cards("lmstudio", boxes.OLDER_LMSTUDIO))["qwen2-vl"]
    assert (older.kind, older.context_length, older.sleeps) == ("vlm", 32_768, True)


async def test_vllm_tells_its_longest_context() -> None:
    card = (await cards("vllm", boxes.VLLM))["Qwen/Qwen3-8B"]

    assert (card.context_length, card.created_s, card.sleeps) == (40_960, 7, False)


async def test_llama_cpp_tells_the_context_that_it_was_started_with() -> None:
    card = (await cards("llamacpp", boxes.LLAMACPP))["qwen.gguf"]

    assert (card.context_length, card.size_bytes, card.calls_tools) == (8192, 4_912, True)


async def test_a_router_of_llama_cpp_tells_which_of_its_models_sleep() -> None:
    told = await cards("llamacpp", boxes.ROUTER)

    assert {name: card.sleeps for name, card in told.items()} == {"a:Q4": False, "b:Q4": True}
    assert (told["a:Q4"].kind, told["a:Q4"].context_length) == ("vlm", 4096)


async def test_telemak_and_odyssai_x_tell_theirs() -> None:
    telemak = await cards("telemak", boxes.TELEMAK)
    assert telemak["bge-m3"].kind == "embedder"
    assert telemak["qwen3-8b"].size_bytes == 4 << 30

    odyssai = await cards("odyssai", boxes.ODYSSAI_X)
    assert {name: card.sleeps for name, card in odyssai.items()} == {
        "glm-4.7": False, "kimi": True,
    }  # fmt: skip


async def test_of_another_mesh_only_its_own_models_are_taken() -> None:
    told = await cards("mesh", boxes.MESH)

    assert told.keys() == {"tiny", "stored"}
    assert (told["tiny"].hops, told["tiny"].sleeps, told["stored"].sleeps) == (1, False, True)


MALFORMED: list[Any] = [{}, {"data": 3}, {"data": [None]}, {"data": [{"id": 3}]}, []]


@pytest.mark.parametrize("listed", MALFORMED)
async def test_a_list_that_makes_no_sense_is_an_error_with_a_name(listed: Any) -> None:
    async with at({"/v1/models": listed}) as (_, probe):
        with pytest.raises(MeshError, match=r"mlx_lm\.server"):
            await KINDS["mlx-lm"]().look(probe)


ORDERS: list[tuple[ProviderKind, Answers, str, bool, str, Any]] = [
    (
        "ollama", boxes.OLLAMA, "bge:latest", True, "/api/generate",
        {"model": "bge:latest", "stream": False},
    ),
    (
        "ollama", boxes.OLLAMA, "qwen3:8b", False, "/api/generate",
        {"model": "qwen3:8b", "keep_alive": 0, "stream": False},
    ),
    ("lmstudio", boxes.LMSTUDIO, "nomic", True, "/api/v1/models/load", {"model": "nomic"}),
    (
        "lmstudio", boxes.LMSTUDIO, "gemma-3", False, "/api/v1/models/unload",
        {"instance_id": "gemma-3:2"},
    ),
    ("llamacpp", boxes.ROUTER, "b:Q4", True, "/models/load", {"model": "b:Q4"}),
    ("llamacpp", boxes.ROUTER, "a:Q4", False, "/models/unload", {"model": "a:Q4"}),
    ("telemak", boxes.TELEMAK, "qwen3-8b", True, "/admin/load", {"model": "qwen3-8b"}),
    ("telemak", boxes.TELEMAK, "qwen3-8b", False, "/admin/unload", {"model": "qwen3-8b"}),
    ("odyssai", boxes.ODYSSAI_X, "kimi", True, "/admin/clusters/beta/load", {"model": "kimi"}),
    (
        "odyssai", boxes.ODYSSAI_X, "glm-4.7", False,
        "/admin/clusters/alpha/unload?alias=glm-4.7", {},
    ),
    ("mesh", boxes.MESH, "stored", True, "/admin/models/load", {"model": "stored", "wait": True}),
    ("mesh", boxes.MESH, "tiny", False, "/admin/models/unload", {"model": "tiny", "wait": True}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "answers", "model", "loads", "path", "said"), ORDERS)
async def test_loading_and_unloading_is_said_as_the_make_has_it(
    kind: ProviderKind, answers: Answers, model: str, loads: bool, path: str, said: Any
) -> None:
    async with at(answers) as (engine, probe):
        make = KINDS[kind]()
        await (make.load if loads else make.unload)(probe, ModelId(model))

        assert engine.posted(path) == [said]


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("vllm", boxes.VLLM), ("llamacpp", boxes.LLAMACPP),
        ("llama-cpp-python", boxes.LLAMA_CPP_PYTHON), ("mlx-lm", boxes.MLX_LM),
    ],
)  # fmt: skip
async def test_what_loads_by_itself_says_so(kind: ProviderKind, answers: Answers) -> None:
    async with at(answers) as (_, probe):
        for order in (KINDS[kind]().load, KINDS[kind]().unload):
            with pytest.raises(MeshError, match="by itself") as refused:
                await order(probe, ModelId("m"))

            assert refused.value.code is Code.UNSUPPORTED_PARAMETER
