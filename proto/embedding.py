"""What models that generate nothing are asked: vectors of texts, and how well texts answer."""

from typing import Annotated

from msgspec import Meta

from proto.ids import ModelId, RequestId
from proto.inference import Text, Tokens
from proto.message import Message


class Embed(Message, frozen=True, kw_only=True):
    """Ask an engine for the vectors of texts. Answered by ``Embedded``."""

    request: RequestId
    model: ModelId
    inputs: tuple[Text | Tokens, ...]
    dimensions: Annotated[int, Meta(gt=0)] | None = None
    """Keep so many of each vector's first numbers, and make its length 1 again."""
    expires_s: float | None = None
    """Unix time in seconds. Later than this nobody waits for the answer."""


class Embedded(Message, frozen=True, kw_only=True, tag="embedded"):
    vectors: tuple[bytes, ...]
    """One for each input: float32, little endian, of length 1."""
    tokens: int
    """Of all inputs together."""


class Rerank(Message, frozen=True, kw_only=True):
    """Ask an engine how well documents answer a query. Answered by ``Reranked``."""

    request: RequestId
    model: ModelId
    query: str
    documents: tuple[str, ...]
    expires_s: float | None = None


class Reranked(Message, frozen=True, kw_only=True, tag="reranked"):
    scores: tuple[float, ...]
    """One for each document, in their order: 0 has nothing to do with it, 1 answers it."""
    tokens: int
    """Of the query with each document, together."""
