"""Vectors and scores as servers of OpenAI's and Cohere's protocols ask for and give them.

https://platform.openai.com/docs/api-reference/embeddings and
https://docs.cohere.com/reference/rerank
"""

from array import array
from typing import Any

import msgspec
from msgspec import Struct

from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.frames import Usage
from proto.prompt import Text
from services.cloud.piece import Piece


def embeddings_body(asked: Embed, model: str) -> dict[str, Any]:
    """Only what was asked for is said."""
    texts = [given.text if isinstance(given, Text) else list(given.ids) for given in asked.inputs]
    said: dict[str, Any] = {
        "dimensions": asked.dimensions,
        "input_type": asked.side,
        "truncate": asked.truncate or None,
    }
    body = {"model": model, "input": texts, "encoding_format": "float"}
    return body | {name: value for name, value in said.items() if value is not None}


def embedded(answer: Any) -> Embedded:
    """Raises KeyError, TypeError, ValueError or AttributeError on what is no answer."""
    data = sorted(answer["data"], key=lambda entry: int(entry["index"]))
    return Embedded(
        vectors=tuple(array("f", entry["embedding"]).tobytes() for entry in data),
        tokens=_tokens(answer),
    )


class _Usage(Struct, frozen=True):
    prompt_tokens: int = 0


class _Embeddings(Struct, frozen=True):
    """Its vectors, most of its bytes, are not looked at."""

    usage: _Usage = _Usage()


_embeddings = msgspec.json.Decoder(_Embeddings).decode


def read_along(body: bytes) -> Piece:
    """What embeddings that go on as they are came to. Raises msgspec.DecodeError."""
    try:
        usage = _embeddings(body).usage
    except msgspec.ValidationError:
        return Piece()
    return Piece(usage=Usage(usage.prompt_tokens, 0, 0))


def rerank_body(asked: Rerank, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "query": asked.query,
        "documents": list(asked.documents),
    }
    if asked.document_tokens is not None:
        body["max_tokens_per_doc"] = asked.document_tokens
    return body


def reranked(answer: Any) -> Reranked:
    """Raises KeyError, TypeError, ValueError or AttributeError on what is no answer."""
    results = sorted(answer["results"], key=lambda entry: int(entry["index"]))
    return Reranked(
        scores=tuple(float(entry["relevance_score"]) for entry in results),
        tokens=_tokens(answer),
    )


def _tokens(answer: Any) -> int:
    """Zero where nothing is said of them."""
    usage = answer.get("usage") or {}
    counted = (answer.get("meta") or {}).get("tokens") or {}
    return int(
        usage.get("prompt_tokens") or usage.get("total_tokens") or counted.get("input_tokens") or 0
    )
