"""What the cloud service needs of an upstream, whatever it speaks."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.generation import Generate
from proto.presence import ModelCard
from proto.tokenization import CountTokens
from services.cloud.calling.breaker import Breaker
from services.cloud.piece import Piece


class Client(Protocol):
    @property
    def breaker(self) -> Breaker:
        """Whether the upstream is asked at all."""

    async def catalog(self) -> tuple[ModelCard, ...]:
        """The upstream's models, by the ids it has for them. Raises MeshError."""

    def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Raises MeshError when the upstream refuses, fails, or breaks off."""

    async def count(self, asked: CountTokens) -> int:
        """How many tokens a prompt is. Raises MeshError, also where nobody tells."""

    async def embed(self, asked: Embed) -> Embedded:
        """Raises MeshError."""

    async def rerank(self, asked: Rerank) -> Reranked:
        """Raises MeshError."""

    async def close(self) -> None: ...


@runtime_checkable
class Forwarding(Protocol):
    """Of an upstream that speaks as clients do, so that they need no translation."""

    speaks: tuple[str, ...]
    """The endpoints at which it does, such as ``/v1/messages``."""

    def forward(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """The answer to ``request.verbatim``, as ``Piece.data``. Raises MeshError."""
