"""How one model is shown pictures: what its processor makes of them and where they go in a prompt.

Nothing here runs on the model's thread.
"""

from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.tokenizer_utils import TokenizerWrapper
from numpy.typing import NDArray

from services.runner.engine.rendering import render
from services.runner.engine.vision.families import Family
from services.runner.engine.vision.opening import opened
from services.runner.engine.vision.picture import Picture, Unreadable
from services.runner.engine.vision.template import manner

_OF_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


class Eyes:
    """A model's own way with pictures."""

    def __init__(
        self,
        family: Family,
        processor: Any,
        tokenizer: TokenizerWrapper,
        config: dict[str, Any],
        patch: int,
    ) -> None:
        """``processor`` as mlx-vlm loads it; ``patch`` is the token that a patch stands for."""
        self.mark: str = getattr(processor, family.mark)
        """What a rendered prompt holds in a picture's place."""
        self.has_grid = family.has_grid
        self.manner = manner(
            lambda messages: render(tokenizer, messages, add_generation_prompt=True),
            self.mark,
        )
        self._encoder = tokenizer.backend_tokenizer
        self._encoder.no_padding()
        self._encoder.no_truncation()
        self._processor = processor
        self.patch = patch
        self._merge = int((config.get("vision_config") or {}).get("spatial_merge_size", 2))

    def encode(self, text: str) -> Any:
        """A rendered prompt's ``ids`` and their ``offsets`` in it."""
        return self._encoder.encode(text, add_special_tokens=False)

    def picture(self, digest: bytes, data: bytes) -> Picture:
        """Raises Unreadable. Not to be called from two threads at once."""
        image = opened(data)
        try:
            made = self._processor(text=[self.mark], images=[image])
        except (ValueError, TypeError, ZeroDivisionError) as refused:
            raise Unreadable(f"is nothing that this model can take: {refused}") from refused
        tokens = _without_ends(_array(made["input_ids"]).reshape(-1).tolist(), self._processor)
        grid = _array(made["image_grid_thw"])[0].tolist() if self.has_grid else None
        text = self._processor.tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return Picture(
            digest=digest,
            tokens=tokens,
            text=text,
            patches=np.flatnonzero(np.array(tokens) == self.patch).astype(np.int32),
            grid=grid and (grid[0], grid[1] // self._merge, grid[2] // self._merge),
            pixels={
                name: _array(value)
                for name, value in made.items()
                if name not in _OF_TEXT and value is not None
            },
        )


def _array(value: Any) -> NDArray[Any]:
    """Numpy's own copy: what mlx holds belongs to a thread."""
    if isinstance(value, list | tuple):
        return np.array([_array(item) for item in value])
    with mx.stream(mx.cpu):
        return np.array(value)


def _without_ends(tokens: list[int], processor: Any) -> list[int]:
    """Less what a tokenizer puts around every text."""
    tokenizer = processor.tokenizer
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    while tokens and tokens[0] in ends:
        tokens = tokens[1:]
    while tokens and tokens[-1] in ends:
        tokens = tokens[:-1]
    return tokens
