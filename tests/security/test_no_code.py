"""What comes with a model is data: none of it is run, and nothing that could be is opened."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx_lm.tokenizer_utils
import mlx_lm.utils
import mlx_vlm.utils
import pytest

from proto.errors import MeshError
from services.runner.children.orders import ConvertOrder
from services.runner.engine.convert import convert
from services.runner.engine.embedding import loading as embedding
from services.runner.engine.loading import NotLoadable, load, locate
from tests.tiny import make_tiny
from tests.tiny_readers import make_causal, make_encoder
from tests.tiny_vlm import make_tiny_vlm

ROOT = Path(__file__).parents[2]
OURS = [file for top in ("proto", "bus", "services", "ops") for file in (ROOT / top).rglob("*.py")]
FORBIDDEN = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch",
    "zipfile", "tarfile",
}  # fmt: skip
"""Modules that make objects of files, or files of archives."""

SUSPICIOUS = re.compile(
    r"trust_remote_code|allow_pickle|shell=|eval\(|exec\(|load\(|extractall|unpack_archive|"
    + "|".join(FORBIDDEN)
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_of_ours_opens_pickles_or_archives_or_runs_text() -> None:
    for file in OURS:
        text = file.read_text()
        if not SUSPICIOUS.search(text):
            continue
        tree = ast.parse(text)
        assert not FORBIDDEN & set(imported(tree)), file
        for name, call in called(tree):
            assert name not in ("eval", "exec", "np.load", "numpy.load", "yaml.load"), file
            assert not name.endswith(("unpack_archive", "extractall", "torch.load")), file
            for keyword in call.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle", "shell"):
                    assert ast.unparse(keyword.value) != "True", (file, keyword.arg)


@pytest.mark.parametrize("module", [mlx_lm.utils, mlx_lm.tokenizer_utils, mlx_vlm.utils])
def test_what_loads_models_for_us_opens_no_pickles(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))

    assert not {"pickle", "joblib", "torch"} & set(imported(tree))
    assert not {"np.load", "torch.load", "eval", "exec"} & {name for name, _ in called(tree)}


@pytest.mark.parametrize("load_model", [mlx_lm.utils.load_model, mlx_vlm.utils.load_model])
def test_weights_are_looked_for_as_safetensors_only(load_model: Any) -> None:
    globs = [
        ast.unparse(call)
        for name, call in called(ast.parse(inspect.getsource(load_model)))
        if name == "glob.glob"
    ]

    assert globs
    assert all("*.safetensors" in one for one in globs)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there as soon as the model's Python was run."""
    return tmp_path / "it-was-run"


def change(file: Path, **changes: Any) -> None:
    there = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(there | changes))


def booby_trapped(folder: Path, mark: Path) -> Path:
    """Every hook by which a model's folder can name Python of its own."""
    source = f"open({str(mark)!r}, 'w').close()\nclass Model: pass\nModelArgs = Own = Model\n"
    for name in ("own.py", "modeling_own.py", "tokenization_own.py", "processing_own.py"):
        (folder / name).write_text(source)
    own = {
        "AutoConfig": "modeling_own.Own",
        "AutoModel": "modeling_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"],
        "AutoProcessor": "processing_own.Own",
        "AutoImageProcessor": "processing_own.Own",
    }
    names = ("config.json", "tokenizer_config.json", "processor_config.json")
    for name in (*names, "preprocessor_config.json"):
        if (folder / name).exists() or name in names:
            change(folder / name, auto_map=own)
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer")
    return folder


def attempt(load_it: Any) -> None:
    """Loading may fail, as long as it says so in our words."""
    with suppress(NotLoadable, MeshError):
        load_it()


def test_a_language_model_s_python_is_not_run(tmp_path: Path, mark: Path) -> None:
    folder = booby_trapped(make_tiny(tmp_path / "m"), mark)
    attempt(lambda: load(str(folder), tmp_path))
    change(folder / "config.json", model_file="own.py")
    with pytest.raises(NotLoadable, match="trust-remote-code"):
        load(str(folder), tmp_path)

    assert not mark.exists()


def test_it_is_where_the_operator_trusts_it(tmp_path: Path, mark: Path) -> None:
    """So the traps above are ones."""
    folder = booby_trapped(make_tiny(tmp_path / "m"), mark)
    change(folder / "config.json", model_file="own.py")
    with pytest.raises(Exception):  # noqa: B017, PT011 - an empty class is no model
        load(str(folder), tmp_path, trusts_code=True)

    assert mark.exists()


def test_the_python_of_a_model_that_sees_is_not_run(tmp_path: Path, mark: Path) -> None:
    folder = booby_trapped(make_tiny_vlm(tmp_path / "m"), mark)
    attempt(lambda: load(str(folder), tmp_path))
    change(folder / "config.json", model_file="own.py")
    with pytest.raises(NotLoadable, match="trust-remote-code"):
        load(str(folder), tmp_path)

    assert not mark.exists()


@pytest.mark.parametrize("make", [make_causal, lambda folder: make_encoder(folder, "bert")])
def test_an_embedder_s_python_is_not_run(tmp_path: Path, mark: Path, make: Any) -> None:
    folder = booby_trapped(make(tmp_path / "m"), mark)
    source = locate(str(folder), tmp_path)
    attempt(lambda: embedding.load(source, "embedder"))
    change(folder / "config.json", model_file="own.py")
    attempt(lambda: embedding.load(source, "embedder"))

    assert not mark.exists()


def test_nor_is_it_for_a_conversion(tmp_path: Path, mark: Path) -> None:
    folder = booby_trapped(make_tiny(tmp_path / "m"), mark)
    change(folder / "config.json", model_file="own.py")
    order = ConvertOrder(
        source=str(folder), home=str(tmp_path), folder=str(tmp_path / "new"), job="j", total_bytes=1
    )
    with pytest.raises(MeshError, match="trust_remote_code"):
        convert(order)

    assert not mark.exists()
