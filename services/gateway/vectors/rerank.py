"""POST /v1/rerank: how well documents answer a query, the best first."""

from functools import partial

import msgspec

from bus.deadline import left_s
from proto.dialects.rerank import (
    About,
    Ranked,
    ReadTokens,
    RerankAnswer,
    RerankRequest,
    RerankUsage,
    TextDocument,
    asked_rerank,
)
from proto.embedding import Rerank, Reranked
from proto.errors import Code, MeshError
from proto.ids import EngineId, RequestId
from proto.prompt import Text
from proto.subjects import RERANK
from proto.telemetry import Dialect
from services.gateway.answering import relay
from services.gateway.asking.enquiry import Reply
from services.gateway.asking.placing import expect_kind
from services.gateway.gateway import Gateway
from services.gateway.generate import cost_header, deadline, expect_fitting, posted, recorded
from services.gateway.http.exchange import JSON, Exchange, Headers
from services.gateway.keys.caller import Claim
from services.gateway.vectors.embeddings import counted
from services.gateway.vectors.shares import shares


class Reranking:
    dialect: Dialect = "openai"
    endpoint = "/v1/rerank"


async def rerank(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    trace = exchange.header(b"traceparent")
    async with recorded(Reranking(), gateway, exchange.id, trace) as record:
        record.operation = "rerank"
        asked = asked_rerank(await posted(gateway, exchange, record))
        record.model = asked.model
        model = gateway.model_for(exchange, asked.model)
        may_use = partial(gateway.entrance.may_use, exchange)
        expect_kind(model, "reranker", gateway.fleet, gateway.shelf, may_use)
        claim = gateway.admit(exchange)
        record.key = claim.key
        async with exchange:
            with deadline(exchange) as expires_at:
                replies = await _replies(gateway, exchange.id, asked, claim, expires_at)
            tokens = sum(reply.answer.tokens for reply in replies)
            counted(gateway, record, model, replies[0].engine, tokens)
            gateway.entrance.spend(claim.key, tokens)
            scores = [score for reply in replies for score in reply.answer.scores]
            answer = RerankAnswer(
                id=f"rerank-{exchange.id}",
                model=asked.model,
                results=_ranked(asked, scores),
                meta=About(tokens=ReadTokens(tokens)),
                usage=RerankUsage(tokens, tokens),
            )
            headers = [JSON, *_about(asked, replies[0].engine), *cost_header(record)]
            await exchange.reply(200, msgspec.json.encode(answer), headers)


async def _replies(
    gateway: Gateway,
    request: RequestId,
    asked: RerankRequest,
    claim: Claim,
    expires_at: float | None,
) -> list[Reply[Reranked]]:
    model = gateway.target(asked.model)
    for text in (asked.query, *asked.texts):
        expect_fitting(Text(text=text), gateway.settings.prompt_limit_chars)
    sizes = [len(text) for text in asked.texts]
    holders = len(gateway.fleet.holders(model))
    return await relay.side_by_side(
        _ask(gateway, RequestId(f"{request}-{number}"), asked, claim, part, expires_at)
        for number, part in enumerate(shares(sizes, holders, len(sizes)))
    )


async def _ask(
    gateway: Gateway,
    request: RequestId,
    asked: RerankRequest,
    claim: Claim,
    part: slice,
    expires_at: float | None,
) -> Reply[Reranked]:
    question = Rerank(
        request=request,
        model=gateway.target(asked.model),
        query=asked.query,
        documents=tuple(asked.texts[part]),
        first=part.start,
        document_tokens=asked.max_tokens_per_doc,
        left_s=left_s(expires_at),
        key=claim.key,
        weight=claim.weight,
        priority=claim.priority,
        local_only=claim.local_only,
        hops=claim.hops,
        gateway=gateway.id,
    )
    chars = sum(len(asked.query) + len(text) for text in question.documents)
    reply = await gateway.watch.enquire(
        RERANK, question, request=request, model=question.model, chars=chars
    )
    given, wanted = len(reply.answer.scores), len(question.documents)
    if given != wanted:
        why = f"Engine {reply.engine} gave {given} scores for {wanted} documents."
        raise MeshError(Code.INTERNAL, why)
    return reply


def _ranked(asked: RerankRequest, scores: list[float]) -> list[Ranked]:
    """The best first; of equals, the one that came first."""
    texts = asked.texts
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [
        Ranked(
            index=index,
            relevance_score=scores[index],
            document=TextDocument(texts[index]) if asked.return_documents else None,
        )
        for index in order[: asked.top_n]
    ]


def _about(asked: RerankRequest, engine: EngineId) -> Headers:
    headers = [(b"x-odyssai-engine", engine.encode())]
    if asked.ignored:
        headers.append((b"x-odyssai-ignored", ", ".join(asked.ignored).encode()))
    return headers
