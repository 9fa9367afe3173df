"""Whatever lies in a model's folder: it is read, or refused by a sentence."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runner.engine import blas

blas.preload()

from services.runner.engine import bundled  # noqa: E402
from services.runner.models import bundle  # noqa: E402
from services.runner.store.weights import float_bytes, read_tensors, weights_bytes  # noqa: E402

NAMES = st.sampled_from(["a.weight", "a.scales", "norm", "embed", "x.qweight", "__metadata__"])
VALUES = st.recursive(
    st.none() | st.integers(-(2**40), 2**62) | st.text(max_size=6) | st.sampled_from(["F32", "U8"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner, max_size=3)
    ),
    max_leaves=8,
)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=4).map(lambda value: json.dumps(value).encode())
FILES = st.binary(max_size=60) | HEADERS.map(lambda head: struct.pack("<Q", len(head)) + head)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.safetensors"


@given(content=FILES)
def test_a_safetensors_header_is_one_or_refused(file, content):
    file.write_bytes(content)
    try:
        tensors = read_tensors([file])
    except (OSError, ValueError):
        return
    assert weights_bytes(tensors, {}, unpacks=True) >= 0
    assert float_bytes(tensors) in (2, 4)


def test_a_damaged_bundle_is_not_given_to_the_reader(tmp_path: Path, monkeypatch):
    damaged = tmp_path / bundle.GGUF
    damaged.write_bytes(b"GGUF" + b"\xff" * 2000)
    monkeypatch.setattr(bundled, "gguf", lambda: damaged)

    with pytest.raises(bundled.NotBundled, match=r"damaged or of another release.*--force-reinst"):
        bundled.unpack(tmp_path)
