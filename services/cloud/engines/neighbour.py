"""An engine near by as an upstream: OpenAI's endpoints for requests, its own for all else."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.ids import ModelId
from proto.presence import ModelCard
from proto.prompt import Tokens
from proto.tokenization import CountTokens
from services.cloud.calling.breaker import Breaker
from services.cloud.engines.kind import Kind
from services.cloud.engines.manners import Manners, Said
from services.cloud.engines.probe import Probe
from services.cloud.engines.stops import Stops
from services.cloud.openai.client import OpenAI
from services.cloud.piece import Piece
from services.cloud.settings import Upstream

HOPS = "x-odyssai-hops"
"""A request's header: through so many meshes it came."""
MOST_HOPS = 1


class Neighbour:
    """A Client."""

    def __init__(self, upstream: Upstream, kind: Kind) -> None:
        self._name = upstream.name
        self._kind = kind
        self._is_mesh = kind.word == "mesh"
        headers = {HOPS: str(MOST_HOPS)} if self._is_mesh else {}
        self._client = OpenAI(upstream, self._told, headers)
        keys = {"authorization": f"Bearer {upstream.keys[0]}"} if upstream.keys else {}
        self._probe = Probe(root_of(upstream.url), keys)
        self._manners: Manners = kind.manners
        self._cards: dict[str, ModelCard] = {}
        self._is_lost = False
        """It did not answer when it was looked at last."""
        self.slots: int | None = None
        """Requests that it takes side by side, as it told last."""

    @property
    def breaker(self) -> Breaker:
        return self._client.breaker

    async def close(self) -> None:
        await self._probe.close()
        await self._client.close()

    async def catalog(self) -> tuple[ModelCard, ...]:
        try:
            look = await self._kind.look(self._probe)
        except MeshError:
            self._is_lost = True
            raise
        if self._is_lost:
            # It is back: what it failed at before it went says nothing of it now.
            self.breaker.succeed()
            self._is_lost = False
        self._manners, self.slots = look.manners, look.slots
        self._cards = {card.id: card for card in look.cards}
        return look.cards

    async def load(self, model: ModelId) -> None:
        """Raises MeshError."""
        await self._kind.load(self._probe, model)

    async def unload(self, model: ModelId) -> None:
        """Raises MeshError."""
        await self._kind.unload(self._probe, model)

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        self._expect_no_loop(request.hops)
        stops = Stops(() if self._manners.stops else request.stop)
        async with aclosing(self._client.generate(request)) as pieces:
            async for piece in pieces:
                text = stops.through(piece.text)
                if stops.is_met:
                    yield replace(piece, text=text, reason="stop_sequence")
                    return
                if piece.reason is not None or piece.calls:
                    text += stops.rest()
                yield piece if text == piece.text else replace(piece, text=text)

    async def count(self, asked: CountTokens) -> int:
        return await self._client.count(asked)

    async def embed(self, asked: Embed) -> Embedded:
        self._expect_no_loop(asked.hops)
        has_tokens = any(isinstance(given, Tokens) for given in asked.inputs)
        if has_tokens and not self._manners.reads_tokens:
            raise self._manners.refused("input", "token ids are not read")
        if asked.side is not None and not self._is_mesh:
            raise self._manners.refused("input_type")
        if asked.truncate and not self._is_mesh:
            asked = replace(asked, truncate=False)
        return await self._client.embed(asked)

    async def rerank(self, asked: Rerank) -> Reranked:
        self._expect_no_loop(asked.hops)
        if asked.document_tokens is not None and not self._is_mesh:
            raise self._manners.refused("max_tokens_per_doc")
        return await self._client.rerank(asked)

    def _told(self, request: Generate, model: str) -> tuple[str, Said]:
        card = self._cards.get(model)
        context = card.context_length if card else 0
        return self._manners.told(request, model, context)

    def _expect_no_loop(self, hops: int) -> None:
        if self._is_mesh and hops >= MOST_HOPS:
            raise MeshError(
                Code.LOOP,
                f"It came from another mesh, and {self._name} is a mesh, too: it could go round "
                "for ever. Ask the mesh that has the model.",
                param="model",
            )


def root_of(url: str) -> str:
    """Where the server is of whose OpenAI endpoints this is the address."""
    return url.rstrip("/").removesuffix("/v1")
