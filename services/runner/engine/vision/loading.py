"""Loading a model folder by mlx-vlm, where it holds one that sees."""

import importlib.util
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_tokenizer

from services.runner.engine.vision.families import FAMILIES

EXTRA = "odyssai-mesh[vision]"


class NoVision(Exception):
    """The message says why this model cannot see here, and what to do."""


def load(
    folder: Path, *, trusts_code: bool = False
) -> tuple[Any, dict[str, Any], TokenizerWrapper, Any]:
    """The model as the batch runs it, its config, its tokenizer and its ``Eyes``.

    ``trusts_code``: the folder may hold Python that is run. Raises NoVision, and what mlx-vlm
    raises: FileNotFoundError, ValueError and their like.
    """
    missing = [name for name in ("mlx_vlm", "PIL") if importlib.util.find_spec(name) is None]
    if missing:
        raise NoVision(
            f"{folder.name} is a model that sees, and {' and '.join(missing)} to show it "
            f"pictures is not installed: pip install '{EXTRA}'"
        )
    from mlx_vlm.utils import load_config, load_model, load_processor

    from services.runner.engine.vision.eyes import Eyes
    from services.runner.engine.vision.model import SeeingModel

    config = load_config(folder)
    family = FAMILIES[config["model_type"]]
    if config.get("model_file") and not trusts_code:
        raise ValueError("its model_file needs trust_remote_code")
    inner = load_model(folder)
    if family.attention:
        attention = import_module(f"mlx_vlm.models.{family.attention}.language").Attention
        for layer in inner.language_model.layers:
            layer.self_attn.__class__ = attention
    processor = load_processor(folder, add_detokenizer=False, trust_remote_code=trusts_code)
    patch = getattr(inner.config, "image_token_index", None)
    if patch is None:
        patch = inner.config.image_token_id
    ends = [config.get("eos_token_id"), *getattr(processor, "additional_eos_token_ids", ())]
    told = {"trust_remote_code": trusts_code} | _template(processor)
    tokenizer = load_tokenizer(folder, told, eos_token_ids=_flat(ends))
    eyes = Eyes(family, processor, tokenizer, config, patch)
    _try(eyes, folder)
    return SeeingModel(inner, family), config, tokenizer, eyes


def _template(processor: Any) -> dict[str, str]:
    """The processor's, which knows pictures; many folders give the tokenizer none, or another."""
    own = getattr(processor, "chat_template", None)
    template = own or getattr(processor.tokenizer, "chat_template", None)
    return {"chat_template": template} if isinstance(template, str) else {}


def _flat(ends: list[Any]) -> list[int] | None:
    """None: as the tokenizer says."""
    flat = [id for end in ends for id in (end if isinstance(end, list) else [end])]
    return [id for id in flat if id is not None] or None


def _try(eyes: Any, folder: Path) -> None:
    """A picture must stand in a prompt as the tokens that its processor says."""
    from PIL import Image

    blank = BytesIO()
    Image.new("RGB", (64, 64)).save(blank, "PNG")
    picture = eyes.picture(b"", blank.getvalue())
    if not len(picture.patches) or eyes.encode(picture.text).ids != picture.tokens:
        raise NoVision(
            f"the image processor of {folder.name} does not fit its tokenizer; convert it anew"
        )
