"""What models that generate nothing are asked: vectors of texts, and how well texts answer."""

from typing import Annotated, Literal

from msgspec import Meta

from proto.ids import GatewayId, KeyId, ModelId, RequestId
from proto.message import Message
from proto.placement import Priority
from proto.prompt import Text, Tokens

Side = Literal["query", "document"]
"""Of a search. Some models were trained with a prompt of its own for each."""


class Embed(Message, frozen=True, kw_only=True):
    """Ask an engine for the vectors of texts. Answered by ``Embedded``.

    Whoever asked and waits no longer says ``Cancel``.
    """

    request: RequestId
    model: ModelId
    inputs: tuple[Text | Tokens, ...]
    first: int = 0
    """The place of the first input in the client's own list, where this is a part of it."""
    dimensions: Annotated[int, Meta(gt=0)] | None = None
    """Keep so many of each vector's first numbers, and make its length 1 again."""
    side: Side | None = None
    """Which of the model's own prompts texts are to begin with; None: its default, if any."""
    truncate: bool = False
    """Cut what is longer than the model reads, instead of refusing it."""
    left_s: float | None = None
    """Seconds from when this is said, after which nobody waits for the answer."""
    key: KeyId = KeyId("")
    """Whose share of the engine it takes."""
    weight: Annotated[float, Meta(gt=0)] = 1.0
    priority: Priority = "interactive"
    local_only: bool = False
    """It must not leave the local network: an engine that would send it on refuses it."""
    gateway: GatewayId = GatewayId("")
    """Who waits for the answer; empty: nobody whose life is watched."""
    hops: int = 0
    """Other meshes that it came through."""


class Embedded(Message, frozen=True, kw_only=True, tag="embedded"):
    vectors: tuple[bytes, ...]
    """One for each input: float32, little endian; of length 1, an upstream's as they came."""
    tokens: int
    """Of all inputs together, special tokens included."""


class Rerank(Message, frozen=True, kw_only=True):
    """Ask an engine how well documents answer a query. Answered by ``Reranked``.

    Whoever asked and waits no longer says ``Cancel``.
    """

    request: RequestId
    model: ModelId
    query: str
    documents: tuple[str, ...]
    first: int = 0
    """The place of the first document in the client's own list, where this is a part of it."""
    document_tokens: Annotated[int, Meta(gt=0)] | None = None
    """Cut documents after so many tokens; None: what is too long is refused."""
    left_s: float | None = None
    key: KeyId = KeyId("")
    weight: Annotated[float, Meta(gt=0)] = 1.0
    priority: Priority = "interactive"
    local_only: bool = False
    gateway: GatewayId = GatewayId("")
    hops: int = 0


class Reranked(Message, frozen=True, kw_only=True, tag="reranked"):
    scores: tuple[float, ...]
    """One for each document, in their order: 0 has nothing to do with it, 1 answers it."""
    tokens: int
    """Of the query with each document, together."""
