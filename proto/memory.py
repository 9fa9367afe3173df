"""How much memory a model takes and a node has left: the arithmetic of everyone who reserves."""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

HEADROOM_BYTES = 256 << 20
"""Of an engine's process before it holds a weight, and of a prompt chunk's activations."""
HEADROOM_SHARE = 0.05
"""Of the weights: activations grow with them."""
FULL_LENGTH_REQUESTS = 4
"""Of the granted context, that may run side by side unless an operator says otherwise."""
KV_SHARE = 0.25
"""Of what models may take on a node: most of it for one model's KV caches, unless told."""
LEAST_CONTEXT = 4096
"""Below it a model is of little use: a load that finds no room for so much is refused."""


class Footprint(Struct, frozen=True, kw_only=True):
    """What a model's files say of the memory it will take on the machine that holds them."""

    weights_bytes: int
    """As loaded: where weights are unpacked to float32, so much."""
    kv_bytes_per_token: int
    """Of all layers together, for one token of one request; 0: it keeps none."""
    kv_bytes_per_request: int = 0
    """What a request takes whatever its length: windows and states of fixed size."""
    context_length: int
    """Most tokens of prompt and answer together that the model was made for."""


def together(footprint: Footprint, draft: Footprint | None) -> Footprint:
    """Of a model with one that guesses for it, whose caches hold the same tokens."""
    if draft is None:
        return footprint
    return replace(
        footprint,
        weights_bytes=footprint.weights_bytes + draft.weights_bytes,
        kv_bytes_per_token=footprint.kv_bytes_per_token + draft.kv_bytes_per_token,
        kv_bytes_per_request=footprint.kv_bytes_per_request + draft.kv_bytes_per_request,
    )


class Grant(Struct, frozen=True, kw_only=True):
    """What an engine may take of its node's memory. The ledger holds the sum."""

    weights_bytes: int
    kv_bytes: int
    """Of KV caches: those of running requests and what the prefix cache keeps."""
    headroom_bytes: int
    context: int
    """Most tokens of one request, prompt and answer together."""
    kv_tokens: int
    """Most tokens of all running requests together: ``context`` for each full-length one."""

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.headroom_bytes


def grant(footprint: Footprint, context: int, batch: int) -> Grant:
    """For ``batch`` requests of full length side by side."""
    context = min(context, footprint.context_length)
    per_request = footprint.kv_bytes_per_token * context + footprint.kv_bytes_per_request
    return Grant(
        weights_bytes=footprint.weights_bytes,
        kv_bytes=per_request * batch,
        headroom_bytes=HEADROOM_BYTES + int(HEADROOM_SHARE * footprint.weights_bytes),
        context=context,
        kv_tokens=context * batch,
    )


def largest_grant(
    footprint: Footprint,
    free_bytes: int,
    wirable_bytes: int,
    context: int | None = None,
    batch: int | None = None,
) -> Grant | None:
    """The most generous grant that fits and is modest; None when even the least does not fit.

    What the operator fixed is not touched. Of the rest, requests side by side
    are given up before context is, since a long request cannot be split. A
    grant is modest when its KV caches leave most of the node's ``wirable_bytes``
    to other models; an operator who fixed both sizes need not be.
    """
    tried = list(grants(footprint, context, batch))
    modest = [g for g in tried if g.kv_bytes <= KV_SHARE * wirable_bytes] or tried[-1:]
    return next((g for g in modest if g.total_bytes <= free_bytes), None)


def least_grant(
    footprint: Footprint, context: int | None = None, batch: int | None = None
) -> Grant:
    """What a refusal speaks of: the least that could be served with."""
    return list(grants(footprint, context, batch))[-1]


def grants(
    footprint: Footprint, context: int | None = None, batch: int | None = None
) -> Iterator[Grant]:
    """All that may be tried, most generous first."""
    contexts = [context] if context else list(_halvings(footprint.context_length))
    batches = [batch] if batch else list(_halvings(FULL_LENGTH_REQUESTS, 1))
    for size in batches:
        yield grant(footprint, contexts[0], size)
    for length in contexts[1:]:
        yield grant(footprint, length, batches[-1])


def _halvings(most: int, least: int = LEAST_CONTEXT) -> Iterator[int]:
    yield most
    while most // 2 >= least:
        most //= 2
        yield most


class Holding(Struct, frozen=True, kw_only=True):
    """One engine in a node's ledger."""

    reserved_bytes: int
    measured_bytes: int = 0
    """What its process takes now; 0 while it does not run."""

    @property
    def counted_bytes(self) -> int:
        """What it counts with, which is what is free again when it is gone."""
        return max(self.reserved_bytes, self.measured_bytes)


def free_bytes(wirable_bytes: int, available_bytes: int, held: Iterable[Holding]) -> int:
    """What a further engine may take on a node; negative when it is overdrawn.

    ``wirable_bytes`` is all that models may take there, ``available_bytes`` what
    the operating system could give away at this moment. An engine counts with
    the larger of what is reserved for it and what it takes; what it has not
    taken yet of its reservation will still come out of what is available.
    """
    holdings = list(held)
    budget = wirable_bytes - sum(h.counted_bytes for h in holdings)
    promised = sum(max(0, h.reserved_bytes - h.measured_bytes) for h in holdings)
    return min(budget, available_bytes - promised)
