"""The same numbers as transformers' own models give.

The expected ones were made once with sentence-transformers 6.2, transformers 5.23 and torch 2.14
on a CPU in float32, from the folders that ``tests.tiny_readers`` writes and from all-MiniLM-L6-v2:
``SentenceTransformer(folder).encode(texts)``, made of length 1, and
``CrossEncoder(folder, activation_fn=torch.nn.Sigmoid()).predict(pairs)``. Those of the reranker
that is asked for yes or no are the softmax over the two words' logits of
``AutoModelForCausalLM``, with the instruction of Qwen3-Reranker's model card.
"""

import json

import mlx.core as mx
import numpy as np
import pytest

from tests import tiny_readers
from tests.unit.engine.embedding.reading import TEXTS, numbers, scores, vectors

NEAR = 5e-6
EMBEDDERS = {
    "bert": ("mean", (0.047476, 0.307022, -0.220649)),
    "roberta": ("cls", (0.002104, 0.254775, -0.200787)),
    "xlm-roberta": ("cls+mean", (0.001488, 0.180147, -0.141973)),
    "distilbert": ("max", (0.093389, -0.026569, 0.315077)),
    "mpnet": ("mean", (0.067444, 0.009297, 0.153722)),
    "modernbert": ("weightedmean", (-0.045294, 0.013569, -0.358782)),
}
CROSS_ENCODERS = {
    "bert": (0.737796, 0.922095, 0.896959),
    "roberta": (0.446726, 0.372929, 0.344412),
    "xlm-roberta": (0.446726, 0.372929, 0.344412),
    "distilbert": (0.008829, 0.003348, 0.000482),
    "mpnet": (0.986137, 0.956946, 0.965195),
    "modernbert": (0.986676, 0.419284, 0.263434),
}


@pytest.mark.parametrize("family", EMBEDDERS)
def test_an_encoder_gives_the_vectors_of_transformers(family, tmp_path, load):
    pooling, expected = EMBEDDERS[family]
    model = load(tiny_readers.make_encoder(tmp_path / "m", family, pooling))

    found = vectors(model)

    assert model.card.kind == "embedder"
    assert found[1, :3] == pytest.approx(expected, abs=NEAR)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=NEAR)
    assert found.shape == (len(TEXTS), model.card.embedding_size)


@pytest.mark.parametrize("family", CROSS_ENCODERS)
def test_a_cross_encoder_gives_the_scores_of_transformers(family, tmp_path, load):
    model = load(tiny_readers.make_cross_encoder(tmp_path / "m", family))

    assert model.card.kind == "reranker"
    assert scores(model, "moon")[:3] == pytest.approx(CROSS_ENCODERS[family], abs=NEAR)


@pytest.mark.parametrize("is_bare", [False, True])
def test_a_language_model_gives_the_state_of_its_last_token(is_bare, tmp_path, load):
    model = load(tiny_readers.make_causal(tmp_path / "m", is_bare, "lasttoken"))

    assert vectors(model)[1, :3] == pytest.approx((0.181397, 0.023364, -0.136169), abs=NEAR)


def test_a_language_model_that_ranks_is_asked_for_yes_or_no(tmp_path, load):
    model = load(tiny_readers.make_causal(tmp_path / "Tiny-Reranker"))

    expected = (0.022311, 0.689391, 0.016998)
    assert scores(model, "moon")[:3] == pytest.approx(expected, abs=NEAR)


def test_a_layer_behind_the_pooling_is_applied(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert")
    tiny_readers.add_recipe(folder, "mean", dense=16)

    model = load(folder)

    assert model.card.embedding_size == 16
    assert vectors(model)[1, :3] == pytest.approx((0.357412, -0.004872, -0.041982), abs=NEAR)


@pytest.mark.parametrize("family", [*EMBEDDERS, "qwen3"])
def test_a_text_s_vector_is_the_same_alone_and_beside_others(family, tmp_path, load):
    if family == "qwen3":
        model = load(tiny_readers.make_causal(tmp_path / "m", pooling="lasttoken"))
    else:
        model = load(tiny_readers.make_encoder(tmp_path / "m", family, EMBEDDERS[family][0]))

    together = vectors(model)

    for text, beside in zip(TEXTS, together, strict=True):
        assert vectors(model, [text])[0] == pytest.approx(beside, abs=NEAR)


def test_a_long_row_read_in_chunks_comes_to_the_same(tmp_path, load):
    model = load(tiny_readers.make_causal(tmp_path / "m", pooling="mean"))
    rows = model.texts.of(TEXTS)

    assert numbers(model, rows, chunk=5) == pytest.approx(numbers(model, rows), abs=NEAR)


def test_packed_weights_are_read(tmp_path, load):
    """As mlx's own conversions have them; packed to 8 bits they say nearly the same."""
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    plain = vectors(load(folder))
    weights = mx.load(str(folder / "model.safetensors"))
    packed = dict(weights)
    for name, value in weights.items():
        if name.endswith(("query.weight", "word_embeddings.weight")):
            stem = name.removesuffix(".weight")
            packed[name], packed[f"{stem}.scales"], packed[f"{stem}.biases"] = mx.quantize(
                value, group_size=32, bits=8
            )
    mx.save_safetensors(str(folder / "model.safetensors"), packed)
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"group_size": 32, "bits": 8}
    (folder / "config.json").write_text(json.dumps(config))

    assert vectors(load(folder)) == pytest.approx(plain, abs=0.02)


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm):
    texts = ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply today."]

    found = vectors(minilm, texts)

    assert found[:, :4].ravel() == pytest.approx(
        [0.033242, 0.004406, -0.006277, 0.048379,
         -0.002787, 0.029145, -0.016872, 0.027389,
         0.060455, 0.005445, 0.076566, 0.053829], abs=NEAR,
    )  # fmt: skip
    alike = found @ found.T
    assert alike[0, 1] == pytest.approx(0.67954, abs=1e-5)
    assert alike[0, 2] == pytest.approx(0.00373, abs=1e-5)


def test_minilm_is_not_cut_by_what_its_tokenizer_file_says(minilm):
    """The file cuts at 128 tokens and fills up to as many; the model reads 256."""
    (row,) = minilm.texts.of(["word " * 200])

    assert len(row.ids) == 202
    assert minilm.longest == 256
    assert len(minilm.texts.of(["word"])[0].ids) == 3
