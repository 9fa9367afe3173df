"""Which client speaks with an upstream, and when another one is needed."""

from msgspec.structs import replace

from services.cloud.anthropic.client import Anthropic
from services.cloud.client import Client
from services.cloud.engines.kinds import KINDS
from services.cloud.engines.neighbour import Neighbour
from services.cloud.openai.client import OpenAI
from services.cloud.settings import Upstream


def client_of(upstream: Upstream) -> Client:
    if upstream.kind == "anthropic":
        return Anthropic(upstream)
    make = KINDS.get(upstream.kind)
    return Neighbour(upstream, make()) if make else OpenAI(upstream)


def is_same_way(one: Upstream, other: Upstream) -> bool:
    """Whether both are reached alike: what they differ in is what may be asked, and how much."""
    return _way(one) == _way(other)


def with_key(upstream: Upstream, key: str | None) -> Upstream:
    return replace(upstream, keys=() if key is None else (key,))


def _way(upstream: Upstream) -> Upstream:
    return replace(upstream, models=None, hides=(), requests=1, prices={}, locked="")
