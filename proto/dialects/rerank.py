"""What clients of Cohere, Jina and their like send to rerank documents, and what they are answered.

https://docs.cohere.com/reference/rerank and https://jina.ai/reranker
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import Count, Ignored, Name, NonEmpty, decode

MOST_DOCUMENTS = 10_000


class TextDocument(Struct, frozen=True):
    """A document as an object; what it holds besides its text is not looked at."""

    text: str


class RerankRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/rerank. ``null`` is the same as leaving a field out."""

    model: Name
    query: NonEmpty
    documents: Annotated[list[str | TextDocument], Meta(min_length=1, max_length=MOST_DOCUMENTS)]
    top_n: Count | None = None
    """Only so many of the best. Default: all."""
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, Meta(ge=1, lt=2**31)] | None = None
    """Cut documents after so many tokens. Left out, what the model cannot read is refused."""
    max_chunks_per_doc: Ignored = None
    """Documents are read whole."""
    priority: Ignored = None
    """All are served in the order in which they come."""
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        return [text if isinstance(text, str) else text.text for text in self.documents]

    @property
    def ignored(self) -> tuple[str, ...]:
        given = ("max_chunks_per_doc", "priority")
        return tuple(name for name in given if getattr(self, name) is not None)


class Ranked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    index: int
    """The document's place in the request."""
    relevance_score: float
    """0 has nothing to do with the query, 1 answers it."""
    document: TextDocument | None = None
    """Where return_documents asks for it."""


class BilledUnits(Struct, frozen=True, kw_only=True):
    search_units: int = 1


class ReadTokens(Struct, frozen=True):
    input_tokens: int


class About(Struct, frozen=True, kw_only=True):
    """The tokens as Cohere's clients look for them."""

    billed_units: BilledUnits = BilledUnits()
    tokens: ReadTokens


class RerankUsage(Struct, frozen=True):
    """The tokens as Jina's clients look for them."""

    prompt_tokens: int
    """Of the query with each document, together."""
    total_tokens: int


class RerankAnswer(Struct, frozen=True, kw_only=True):
    id: str
    model: str
    results: list[Ranked]
    """The best first."""
    meta: About
    usage: RerankUsage


_RERANK = msgspec.json.Decoder(RerankRequest)


def asked_rerank(body: bytes) -> RerankRequest:
    """Raises MeshError."""
    return decode(_RERANK, body, {})
