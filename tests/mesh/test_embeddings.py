"""Embedders and rerankers beside a model that chats: real engines, the vendors' own clients."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ollama
import openai
import psutil
import pytest
import schemathesis
from hypothesis import given, settings

from services.runner.engine import blas

blas.preload()

from services.runner.engine.embedding import loading  # noqa: E402
from services.runner.engine.embedding.loading import LoadedReader  # noqa: E402
from services.runner.engine.loading import locate  # noqa: E402
from services.runner.models.kind import kind_of  # noqa: E402
from tests import minilm, tiny_readers  # noqa: E402
from tests.mesh.asking import async_gpt_of, chat, message_body, posted, text  # noqa: E402
from tests.mesh.house import Mesh, soon  # noqa: E402
from tests.mesh.telemetry import Telemetry  # noqa: E402
from tests.mesh.test_openapi import BOUNDED, CHECKS  # noqa: E402
from tests.tiny import make_tiny  # noqa: E402
from tests.unit.engine.embedding.reading import scores, vectors  # noqa: E402

pytestmark = pytest.mark.timeout(150)  # Five engines start.

NEAR = 1e-5
EMBED, RERANK = "/v1/embeddings", "/v1/rerank"
CROSS, CAUSAL, PROMPTED = "tiny-cross", "tiny-embedding", "tiny-reranker"
TALE = ["The sea is calm.", "Tides follow the moon.", "Ships wait for the tide, as ever."]


@dataclass
class Models:
    folders: dict[str, Path]

    def direct(self, name: str) -> LoadedReader:
        """The same model without a mesh around it."""
        source = locate(str(self.folders[name]), self.folders[name].parent)
        return loading.load(source, kind_of(source.folder, source.id))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    home = tmp_path_factory.mktemp("readers")
    causal = tiny_readers.make_causal(home / CAUSAL, is_bare=True)
    tiny_readers.add_recipe(causal, "lasttoken", {"query": "search: ", "document": ""})
    return Models(
        {
            minilm.ID: minilm.folder(home),
            CROSS: tiny_readers.make_cross_encoder(home / CROSS, "xlm-roberta"),
            CAUSAL: causal,
            PROMPTED: tiny_readers.make_causal(home / PROMPTED),
            "tiny": make_tiny(home / "tiny"),
        }
    )


@pytest.fixture(scope="module")
def mesh(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("mesh") / "home", list(models.folders.values()))
    yield mesh.wait_until_it_serves(models.folders)
    mesh.end()


def embedded(gpt: openai.OpenAI, texts: Any, **asked: Any) -> np.ndarray:
    asked.setdefault("model", minilm.ID)
    answer = gpt.embeddings.create(input=texts, **asked)
    assert [vector.index for vector in answer.data] == list(range(len(answer.data)))
    return np.array([vector.embedding for vector in answer.data])


def test_a_paraphrase_is_nearer_than_another_matter(gpt: openai.OpenAI) -> None:
    texts = ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply today."]

    found = embedded(gpt, texts)

    assert found[0, :4] == pytest.approx([0.033242, 0.004406, -0.006277, 0.048379], abs=NEAR)
    assert found[0] @ found[1] == pytest.approx(0.67954, abs=1e-4)
    assert found[0] @ found[2] == pytest.approx(0.00373, abs=1e-4)


def test_base64_and_floats_are_the_same_numbers(mesh: Mesh, gpt: openai.OpenAI) -> None:
    """The SDK asks for base64 unless it is told otherwise."""
    floats = embedded(gpt, "The sea", encoding_format="float")
    body = {"model": minilm.ID, "input": "The sea", "encoding_format": "base64"}
    said = posted(mesh, EMBED, body).json()["data"][0]["embedding"]

    assert isinstance(said, str)
    assert (embedded(gpt, "The sea") == floats).all()


def test_fewer_dimensions_are_the_first_ones_made_of_length_1_again(gpt: openai.OpenAI) -> None:
    whole, short = embedded(gpt, TALE), embedded(gpt, TALE, dimensions=32)

    first = whole[:, :32] / np.linalg.norm(whole[:, :32], axis=1, keepdims=True)
    assert short == pytest.approx(first, abs=1e-6)


def test_tokens_say_the_same_as_the_text_they_are_of(models: Models, gpt: openai.OpenAI) -> None:
    rows = models.direct(minilm.ID).texts.of(TALE)

    answer = gpt.embeddings.create(model=minilm.ID, input=[row.ids for row in rows])
    one = embedded(gpt, rows[0].ids)

    assert answer.usage.prompt_tokens == sum(len(row.ids) for row in rows)
    found = np.array([vector.embedding for vector in answer.data])
    assert found == pytest.approx(embedded(gpt, TALE), abs=NEAR)
    assert one[0] == pytest.approx(found[0], abs=NEAR)


def test_a_long_list_keeps_its_order(models: Models, gpt: openai.OpenAI) -> None:
    texts = [f"Ship number {n} waits" + " and waits" * (n % 23) for n in range(400)]

    found = embedded(gpt, texts)

    direct = models.direct(minilm.ID)
    for at in (0, 22, 23, 199, 399):
        assert found[at] == pytest.approx(vectors(direct, [texts[at]])[0], abs=NEAR)


async def test_requests_side_by_side_get_each_its_own(mesh: Mesh, models: Models) -> None:
    texts = [f"text {n} " * (1 + n % 9) for n in range(24)]
    async with async_gpt_of(mesh) as client:
        answers = await asyncio.gather(
            *(client.embeddings.create(model=minilm.ID, input=text) for text in texts)
        )

    expected = vectors(models.direct(minilm.ID), texts)
    for answer, vector in zip(answers, expected, strict=True):
        assert answer.data[0].embedding == pytest.approx(vector.tolist(), abs=NEAR)


def test_a_language_model_embeds_with_its_prompts(models: Models, gpt: openai.OpenAI) -> None:
    direct = models.direct(CAUSAL)

    plain = embedded(gpt, TALE, model=CAUSAL)
    query = embedded(gpt, TALE, model=CAUSAL, extra_body={"input_type": "query"})

    assert plain == pytest.approx(vectors(direct, TALE), abs=NEAR)
    assert query == pytest.approx(vectors(direct, [f"search: {t}" for t in TALE]), abs=NEAR)


def test_too_long_a_text_is_refused_with_both_numbers_or_cut(
    mesh: Mesh, gpt: openai.OpenAI
) -> None:
    long = ["short", "word " * 300]
    with pytest.raises(openai.BadRequestError, match=r"input\[1\].* 302 .* 256 ") as refused:
        embedded(gpt, long)
    cut = embedded(gpt, long, extra_body={"truncate": True})

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert cut[1] == pytest.approx(embedded(gpt, "word " * 254)[0], abs=NEAR)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"dimensions": 385}, "dimensions", "384"),
        ({"input": [5, 30522]}, "input", "30522"),
        ({"input": [[5] * 300]}, "input", "256"),
        ({"input": []}, "input", "input"),
        ({"input": ["x"] * 2049}, "input", "2048"),
        ({"model": "tiny"}, "model", minilm.ID),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(
    mesh: Mesh, fields: dict[str, Any], param: str, words: str
) -> None:
    answer = posted(mesh, EMBED, {"model": minilm.ID, "input": "x"} | fields)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize("model", [minilm.ID, CROSS])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat()),
        ("/v1/completions", text()),
        ("/v1/messages", message_body()),
    ],
    ids=["chat", "completions", "messages"],
)
def test_what_generates_nothing_says_so_at_once(
    mesh: Mesh, path: str, body: dict[str, Any], stream: bool, model: str
) -> None:
    began = time.monotonic()
    answer = posted(mesh, path, body | {"model": model, "stream": stream})

    assert answer.status_code == 400
    assert "generates nothing" in answer.text
    assert time.monotonic() - began < 5


def test_its_tokens_can_be_counted_and_seen(mesh: Mesh, models: Models) -> None:
    (row,) = models.direct(minilm.ID).texts.of(["The sea"])

    found = posted(mesh, "/v1/tokenize", {"model": minilm.ID, "prompt": "The sea"})

    assert found.json()["tokens"] == row.ids


def test_models_say_what_they_are_for(mesh: Mesh) -> None:
    listed = httpx.get(f"{mesh.url}/v1/models", trust_env=False).json()["data"]
    known = {entry["id"]: entry["x_odyssai"] for entry in listed}

    assert {name: known[name]["kind"] for name in (minilm.ID, CAUSAL, CROSS, PROMPTED)} == {
        minilm.ID: "embedder", CAUSAL: "embedder", CROSS: "reranker", PROMPTED: "reranker"
    }  # fmt: skip
    assert known["tiny"]["kind"] == "llm"
    assert (known[minilm.ID]["embedding_size"], known[minilm.ID]["context_length"]) == (384, 256)


@pytest.mark.parametrize("model", [CROSS, PROMPTED])
def test_documents_are_ranked_as_the_model_itself_would(
    mesh: Mesh, models: Models, model: str
) -> None:
    expected = scores(models.direct(model), "moon", TALE)

    body = {"model": model, "query": "moon", "documents": TALE, "return_documents": True}
    answer = posted(mesh, RERANK, body)

    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(np.argsort(-expected, kind="stable"))
    for result in results:
        assert result["relevance_score"] == pytest.approx(expected[result["index"]], abs=NEAR)
        assert result["document"]["text"] == TALE[result["index"]]


def test_a_long_document_is_refused_or_cut(mesh: Mesh, models: Models) -> None:
    long = "of ships and seas " * 20
    body = {"model": CROSS, "query": "moon", "documents": ["x", long]}

    refused = posted(mesh, RERANK, body)
    cut = posted(mesh, RERANK, body | {"max_tokens_per_doc": 8})

    assert refused.status_code == 400
    assert "documents[1]" in refused.json()["error"]["message"]
    assert " 64 " in refused.json()["error"]["message"]
    found = {r["index"]: r["relevance_score"] for r in cut.json()["results"]}
    direct = models.direct(CROSS)
    kept = direct.tokenizer.encode(long, add_special_tokens=False)
    short = scores(direct, "moon", [long[: kept.offsets[7][1]]])
    assert found[1] == pytest.approx(short[0], abs=NEAR)


@pytest.mark.parametrize(("path", "model"), [(EMBED, minilm.ID), (RERANK, CROSS)])
def test_what_the_document_allows_is_answered_as_it_says(mesh: Mesh, path: str, model: str) -> None:
    document = schemathesis.openapi.from_url(f"{mesh.url}/openapi.json")

    @settings(BOUNDED, max_examples=40)
    @given(case=document[path]["POST"].as_strategy())
    def ask(case: Any) -> None:
        if isinstance(case.body, dict):
            case.body["model"] = model
        case.call_and_validate(checks=CHECKS, timeout=20)

    ask()


def test_ollama_s_client_gets_the_same_vectors_and_long_texts_cut(
    mesh: Mesh, gpt: openai.OpenAI
) -> None:
    with ollama.Client(host=mesh.url) as client:
        found = client.embed(minilm.ID, [TALE[0], "word " * 300])
        with pytest.raises(ollama.ResponseError, match="256"):
            client.embed(minilm.ID, "word " * 300, truncate=False)

    assert list(found.embeddings[0]) == pytest.approx(embedded(gpt, TALE[0])[0].tolist(), abs=NEAR)


async def test_operators_hear_of_each_request(mesh: Mesh) -> None:
    async with Telemetry.listen(mesh.access.url("ops"), engines=5) as telemetry:
        await asyncio.to_thread(posted, mesh, EMBED, {"model": minilm.ID, "input": "The sea"})
        told = await telemetry.until("request", lambda event: event["endpoint"] == EMBED)

    assert (told["status"], told["prompt_tokens"], told["completion_tokens"]) == ("ok", 4, 0)


async def test_who_asked_an_engine_that_was_killed_is_answered_by_its_next_life(
    mesh: Mesh, models: Models
) -> None:
    engine = engine_of(mesh, models.folders[minilm.ID])
    async with async_gpt_of(mesh) as client:
        engine.suspend()  # What is asked now is delivered, and not answered.
        asking = asyncio.create_task(client.embeddings.create(model=minilm.ID, input=TALE))
        await soon(lambda: open_requests(mesh) > 1, what="the question asked")
        engine.kill()
        answer = await asking

    expected = vectors(models.direct(minilm.ID), TALE)
    assert answer.data[1].embedding == pytest.approx(expected[1].tolist(), abs=NEAR)


def engine_of(mesh: Mesh, folder: Path) -> psutil.Process:
    for process in mesh.family():
        is_engine = process.cmdline()[-1:] == ["services.runner.engine"]
        if is_engine and process.environ().get("ODYSSAI_SOURCE") == str(folder):
            return process
    raise AssertionError(f"no engine holds {folder}")


def open_requests(mesh: Mesh) -> int:
    """The one that asks is among them."""
    answer = httpx.get(f"{mesh.url}/health", trust_env=False)
    return int(answer.json()["open_requests"])
