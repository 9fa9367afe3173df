"""Model folders that see, and what becomes of them where nothing can."""

import importlib.util
import json
import shutil
from contextlib import suppress

import pytest

from services.runner.engine.loading import load
from services.runner.engine.not_loadable import NotLoadable
from services.runner.engine.vision.families import can_see
from tests.tiny import make_tiny


def test_a_card_says_that_the_model_sees(seeing):
    card = seeing("smolvlm").model.card
    assert (card.kind, card.family, card.context_length) == ("vlm", "smolvlm", 4096)
    assert card.has_chat_template


def test_a_text_model_is_none(tmp_path, tiny):
    assert not can_see(make_tiny(tmp_path / "t"))
    assert not can_see(tmp_path / "nowhere")
    assert tiny.card.kind == "llm"


@pytest.mark.parametrize("absent", ["mlx_vlm", "PIL"])
def test_without_the_extra_it_says_what_to_install(absent, folder_of, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else find(name)
    )
    with pytest.raises(NotLoadable, match=r"pip install 'odyssai-mesh\[vision\]'") as refused:
        load(str(folder_of("smolvlm")), tmp_path)
    assert absent in str(refused.value)


def test_a_processor_that_does_not_fit_is_found_out_at_once(folder_of, tmp_path):
    folder = shutil.copytree(folder_of("smolvlm"), tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_token_id": 7}))
    with pytest.raises(NotLoadable, match="does not fit its tokenizer"):
        load(str(folder), tmp_path)


def test_a_folder_without_weights_is_no_model(folder_of, tmp_path):
    folder = shutil.copytree(folder_of("smolvlm"), tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(NotLoadable, match="safetensors"):
        load(str(folder), tmp_path)


def test_code_in_a_folder_is_not_run_unless_trusted(folder_of, tmp_path):
    folder = shutil.copytree(folder_of("smolvlm"), tmp_path / "coded")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_file": "model.py"}))
    (folder / "model.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(NotLoadable, match="Python code of its own"):
        load(str(folder), tmp_path)
    with pytest.raises(SystemExit, match="it was run"):
        load(str(folder), tmp_path, trusts_code=True)


@pytest.mark.parametrize("file", ["preprocessor_config.json", "tokenizer_config.json"])
def test_neither_is_that_of_a_processor(file, folder_of, tmp_path):
    folder = shutil.copytree(folder_of("smolvlm"), tmp_path / "coded")
    config = json.loads((folder / file).read_text())
    config["auto_map"] = {
        "AutoImageProcessor": "own.Own",
        "AutoTokenizer": ["own.Own", None],
        "AutoProcessor": "own.Own",
    }
    (folder / file).write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('it was run')")
    # Either refused, or loaded by a class that is known here.
    with suppress(NotLoadable):
        assert load(str(folder), tmp_path).card.kind == "vlm"


@pytest.mark.parametrize("family", ["qwen2_vl", "smolvlm", "llava", "gemma3", "mistral3"])
@pytest.mark.parametrize("file", ["chat_template.json", "chat_template.jinja"])
def test_a_template_in_a_file_of_its_own_is_found(family, file, folder_of, tmp_path):
    folder = shutil.copytree(folder_of(family), tmp_path / family)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    template = told.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    is_json = file.endswith(".json")
    text = json.dumps({"chat_template": template}) if is_json else template
    (folder / file).write_text(text)
    model = load(str(folder), tmp_path)
    assert model.card.has_chat_template
    assert model.eyes.manner.takes_parts
