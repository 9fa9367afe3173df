"""What a model is made of, as far as several nodes may share it."""

from msgspec import Struct


class Layout(Struct, frozen=True, kw_only=True):
    """By its files, and by the class that mlx-lm has for it on the node that holds them."""

    layer_bytes: tuple[int, ...]
    """Of each layer's weights as loaded, first to last. Everything else every rank has."""
    outer_bytes: int
    """Of all weights that are of no layer: embedding, last norm, head."""
    kv_bytes: tuple[int, ...]
    """Of each layer's KV cache, for one token of one request."""
    read_bytes: int
    """Of the weights, what has to be read to compute one token: of a mixture of experts less than
    all.
    """
    token_bytes: int = 0
    """What a layer hands on for one token: ranks send it to one another. 0: not known."""
    divided: dict[str, int] = {}
    """Counts that a number of tensor ranks must divide, by what they are of, for people."""
    keeps_kv_whole: bool = False
    """Its KV cache is not of heads that could be divided: each tensor rank has all of it."""
    is_divisible: bool = False
    """mlx-lm can give each rank a part of every layer: tensor."""
    is_stageable: bool = False
    """mlx-lm can give each rank some of the layers: pipeline."""

    @property
    def layers(self) -> int:
        return len(self.layer_bytes)
