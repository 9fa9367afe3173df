import json

import pytest

from services.runner.engine.embedding.recipe import Dense, most_tokens, read_recipe
from services.runner.engine.not_loadable import NotLoadable
from services.runner.models.kind import kind_of
from tests import tiny_readers
from tests.tiny import make_tiny


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tiny", "generator"),
        ("org/Embedded-Chat", "generator"),
        ("org/Tiny-Embedding-0.6B", "embedder"),
        ("org/tiny-embed", "embedder"),
        ("org/Tiny-Reranker-0.6B", "reranker"),
        ("embedding-folder/tiny", "generator"),
    ],
)
def test_a_language_model_s_name_tells_what_it_was_trained_for(name, kind, tmp_path):
    assert kind_of(make_tiny(tmp_path), name) == kind


def test_the_files_of_sentence_transformers_tell_an_embedder(tmp_path):
    folder = tiny_readers.make_causal(tmp_path, pooling="lasttoken")

    assert kind_of(folder, "org/some-model") == "embedder"


def test_an_encoder_embeds_and_a_classifier_ranks(tmp_path):
    encoder = tiny_readers.make_encoder(tmp_path / "e", "bert")
    classifier = tiny_readers.make_cross_encoder(tmp_path / "c", "xlm-roberta")

    assert kind_of(encoder, "e") == "embedder"
    assert kind_of(classifier, "c") == "reranker"


def test_an_unknown_encoder_is_named_with_those_that_are_known(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean", model_type="abacus",
                                       architectures=["AbacusForMaskedLM"])  # fmt: skip

    with pytest.raises(NotLoadable, match=r"abacus.*modernbert.*xlm-roberta"):
        load(folder)


def test_a_classifier_of_many_classes_ranks_nothing(tmp_path, load):
    folder = tiny_readers.make_cross_encoder(tmp_path / "m", "bert", labels=3)

    with pytest.raises(NotLoadable, match="3 classes"):
        load(folder)


def test_a_language_model_that_ranks_in_an_unknown_way_is_refused(tmp_path, load):
    with pytest.raises(NotLoadable, match="llama model is to be asked to rank"):
        load(make_tiny(tmp_path / "tiny-reranker"))


def test_a_language_model_that_looks_both_ways_is_refused(tmp_path, load):
    folder = tiny_readers.make_causal(tmp_path / "m", pooling="mean")
    change(folder / "config.json", is_causal=False)

    with pytest.raises(NotLoadable, match="both ways"):
        load(folder)


def test_weights_of_another_model_are_refused(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    change(folder / "config.json", num_hidden_layers=5)

    with pytest.raises(NotLoadable, match=r"not those of a bert.*layers\.3"):
        load(folder)


def test_a_folder_without_weights_is_named(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    (folder / "model.safetensors").unlink()

    with pytest.raises(NotLoadable, match="safetensors"):
        load(folder)


def test_a_module_that_is_not_known_is_named(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.models.LSTM"
    (folder / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(NotLoadable, match="LSTM"):
        load(folder)


def test_the_newer_files_name_the_pooling(tmp_path):
    folder = tiny_readers.make_encoder(tmp_path, "bert", "mean")
    pooling = {"embedding_dimension": 32, "pooling_mode": ["cls", "max"], "include_prompt": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))

    assert read_recipe(folder, "mean").pooling == ("cls", "max")


def test_the_steps_behind_the_pooling_keep_their_order(tmp_path):
    folder = tiny_readers.make_encoder(tmp_path, "bert")
    tiny_readers.add_recipe(folder, "mean", dense=8)

    assert read_recipe(folder, "mean").steps == (Dense(folder / "2_Dense", "Tanh"), "normalize")


def test_without_files_tokens_are_pooled_as_is_usual_for_the_kind(tmp_path, load):
    assert load(tiny_readers.make_encoder(tmp_path / "e", "bert")).recipe.pooling == ("mean",)
    causal = tiny_readers.make_causal(tmp_path / "tiny-embedding")
    assert load(causal).recipe.pooling == ("lasttoken",)


def test_the_shortest_of_all_limits_holds(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "roberta", "mean")
    assert most_tokens(folder) is None
    assert load(folder).longest == 64, "two positions are never used"

    change(folder / "tokenizer_config.json", model_max_length=40)
    (folder / "sentence_roberta_config.json").write_text('{"max_seq_length": 30}')
    assert load(folder).longest == 30

    change(folder / "tokenizer_config.json", model_max_length=10**30)
    (folder / "sentence_roberta_config.json").unlink()
    assert load(folder).longest == 64


def test_lower_case_is_what_the_files_ask_for(tmp_path, load):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    assert load(folder).texts.of(["A"]) != load(folder).texts.of(["a"])

    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    assert load(folder).texts.of(["A"]) == load(folder).texts.of(["a"])
