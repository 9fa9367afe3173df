"""``python -m services.runner.engine.convert``: a model written anew in another form, by mlx-lm.

A process of its own, started by the agent. The new folder appears when all of it is written.
"""

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_map_with_path
from mlx_lm.utils import dequantize_model, load_model, load_tokenizer, quantize_model, save

from proto.errors import Code, MeshError
from services.runner.children.child import live
from services.runner.children.orders import JOB_FILE, ConvertOrder
from services.runner.children.telling import Telling
from services.runner.disk import check_room
from services.runner.engine.loading import locate
from services.runner.engine.not_loadable import NotLoadable
from services.runner.models.folder import draft_of, nested, settle


def convert(order: ConvertOrder) -> None:
    """Raises MeshError."""
    folder = Path(order.folder)
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(order, draft)
    except (OSError, RuntimeError):  # mlx's own writing says RuntimeError, whatever it was.
        shutil.rmtree(draft, ignore_errors=True)
        check_room(folder, order.total_bytes, f"writing {folder.name}")
        raise
    settle(draft, folder)


def _write(order: ConvertOrder, draft: Path) -> None:
    with Telling(order.total_bytes, lambda: _size(draft)) as telling:
        telling.step = "reading"
        try:
            source = locate(order.source, Path(order.home)).folder
            model, config = load_model(source, lazy=True, trust_remote_code=order.trusts_code)
            told = {"trust_remote_code": order.trusts_code}
            tokenizer = load_tokenizer(source, told, eos_token_ids=config.get("eos_token_id"))
        except (NotLoadable, FileNotFoundError, ValueError, KeyError, TypeError) as unsupported:
            said = f"mlx-lm cannot convert {order.source}: {unsupported}"
            raise MeshError(Code.LOAD_FAILED, said) from unsupported
        telling.step = "writing"
        model, config = reformed(model, config, order)
        save(draft, str(source), model, tokenizer, config)
        (draft / JOB_FILE).write_text(order.job)


def reformed(
    model: Module, config: dict[str, Any], order: ConvertOrder
) -> tuple[Module, dict[str, Any]]:
    """In the form that is wanted. Nothing is computed before it is written.

    Packing reckons in the precision of the weights, so they are float32 meanwhile.
    """
    width = _dtype(order, config)
    if config.pop("quantization", None) is not None:
        config.pop("quantization_config", None)
        model = dequantize_model(model)
    if order.bits is not None:
        model = _cast(model, mx.float32)
        model, config = quantize_model(model, config, order.group_size, order.bits)
    config["torch_dtype"] = str(width).removeprefix("mlx.core.")
    return _cast(model, width), config


def _dtype(order: ConvertOrder, config: dict[str, Any]) -> mx.Dtype:
    """Of all that is not packed: as asked for, else as it was."""
    said = order.dtype or nested(config, "torch_dtype") or nested(config, "dtype")
    found = {"float16": mx.float16, "float32": mx.float32}.get(str(said))
    return found or mx.bfloat16


def _cast(model: Module, width: mx.Dtype) -> Module:
    """Weights that the model says must keep their precision keep it."""
    may_cast = getattr(model, "cast_predicate", lambda _: True)

    def cast(path: str, value: mx.array) -> mx.array:
        is_number = mx.issubdtype(value.dtype, mx.floating)
        return value.astype(width) if is_number and may_cast(path) else value

    model.update(tree_map_with_path(cast, model.parameters()))
    return model


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def main() -> None:
    live(convert, ConvertOrder)


if __name__ == "__main__":
    main()
