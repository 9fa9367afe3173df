"""The benchmark's parts are what it says they are; its figures are not judged here."""

from services.runner.engine import blas

blas.preload()

import mlx.core as mx  # noqa: E402

from ops.bench._report import Report  # noqa: E402
from ops.bench.draft import Bench, Extent, deepened, rounded  # noqa: E402
from services.runner.engine.loading import load  # noqa: E402
from tests.tiny import make_tiny  # noqa: E402


def test_layers_that_add_nothing_change_nothing_and_are_computed(tmp_path):
    folder = str(make_tiny(tmp_path / "Tiny"))
    own, deep = load(folder, tmp_path).model, deepened(load(folder, tmp_path).model, 3)
    tokens = mx.array([[5, 77, 300, 12]])

    assert len(deep.layers) == 3 * len(own.layers)
    assert mx.allclose(deep(tokens), own(tokens), atol=1e-4)


def test_fewer_bits_agree_less_often(tmp_path):
    folder = str(make_tiny(tmp_path / "Tiny"))
    own = load(folder, tmp_path).model
    tokens = mx.array([[5 + 3 * at for at in range(150)]])
    said = mx.argmax(own(tokens), axis=-1)
    agreed = [
        mx.mean(mx.argmax(rounded(load(folder, tmp_path).model, bits)(tokens), axis=-1) == said)
        for bits in (8, 4, 2)
    ]
    assert agreed[0].item() > agreed[1].item() > agreed[2].item()


def test_both_sides_say_the_same(tmp_path):
    folder = str(make_tiny(tmp_path / "Tiny"))
    model, report = load(folder, tmp_path), Report("draft")
    Bench(model, Extent(1, 40, 1)).measure(report, "itself", load(folder, tmp_path), 0.0, (1, 2))
    figures = {figure.name: figure.value for figure in report.figures}

    assert figures["itself × 1: the same answers"] == figures["itself × 2: the same answers"] == 1.0
    assert {"itself × 1", "itself × 2", "itself: accepted of late"} <= figures.keys()
