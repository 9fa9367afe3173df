"""A model that says what the last scripted turn of its prompt tells it to, token by token.

Loaded by mlx-lm out of a model folder (``model_file``), it is run by the real
engine like any other: batched, in chunks, from cached prefixes. Its KV cache
holds the token ids themselves, from which every next token follows.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

CERTAIN = 30.0
"""Logit of the token to say; all others have none."""


@dataclass
class ModelArgs:
    vocab_size: int
    say: int
    """The token in front of a script."""
    said: int
    """The token behind it, for which the model says ``end``."""
    answer: int
    """The prompt's last token."""
    end: int

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> "ModelArgs":
        return cls(**{name: config[name] for name in cls.__annotations__})


class Model(nn.Module):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.model_type = "parrot"
        self.layers = [nn.Identity()]
        self.spoken = mx.arange(args.vocab_size, dtype=mx.float32)
        """What is said for each token of a script: stand-ins for what a prompt must not hold."""

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """Logits [rows, tokens, vocabulary] of token ids [rows, tokens]."""
        ids = inputs.astype(mx.float32)[:, None, :, None]
        if cache is not None:
            ids, _ = cache[0].update_and_fetch(ids, ids)
        heard = ids[:, 0, :, 0].astype(mx.int32)
        first = heard.shape[1] - inputs.shape[1]
        following = self._following(heard)[:, first:]
        likeliest = mx.arange(self.args.vocab_size) == following[..., None]
        return mx.where(likeliest, CERTAIN, 0.0)

    def _following(self, heard: mx.array) -> mx.array:
        """The token that comes after each position, given all before it."""
        args, places = self.args, mx.arange(heard.shape[1])
        begun = _latest(heard == args.answer, places)
        script = mx.take_along_axis(_latest(heard == args.say, places), mx.maximum(begun, 0), 1)
        place = mx.minimum(script + 1 + places - begun, heard.shape[1] - 1)
        token = mx.take_along_axis(heard, place, 1)
        said = _latest(heard == args.said, places)
        is_over = (begun < 0) | (script < 0) | (mx.take_along_axis(said, place, 1) > script)
        spoken = mx.take(self.spoken, token).astype(mx.int32)
        return mx.where(is_over, args.end, spoken)


def _latest(is_marked: mx.array, places: mx.array) -> mx.array:
    """For each position, where the last mark up to it is; -1 where there is none."""
    return mx.cummax(mx.where(is_marked, places, -1), axis=1)
