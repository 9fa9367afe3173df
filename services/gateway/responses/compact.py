"""POST /v1/responses/compact: the model itself puts a conversation into a few words."""

import time

import msgspec

from proto.dialects.asked import Answered, Asked, tier
from proto.dialects.responses.conversation import turns
from proto.dialects.responses.item import Compaction, Item, item_id
from proto.dialects.responses.reasoning import sealed
from proto.dialects.responses.request import CompactRequest, compact_request
from proto.dialects.responses.response import Compacted, response_id, usage
from proto.errors import Code, MeshError
from proto.frames import Usage
from proto.ids import ModelId, SessionId
from proto.prompt import Chat, Turn
from services.gateway.answering import relay
from services.gateway.answering.record import Record
from services.gateway.gateway import Gateway
from services.gateway.generate import (
    answer_headers,
    cost_header,
    deadline,
    generating,
    posted,
    recorded,
    served_by,
    tell_route,
    understood,
)
from services.gateway.http.exchange import JSON, Exchange
from services.gateway.openai import OpenAi
from services.gateway.responses.conversation import conversation

WISH = (
    "Sum up this conversation for somebody who goes on with it and will see nothing else of it: "
    "what was asked for, what was decided and why, what is done and what is not, and every name, "
    "path, number and identifier that will be needed. Answer with the summary alone."
)

LONGEST = 4096
"""Tokens; nobody needs a longer summary, and some models never end one."""


class Compactions(OpenAi):
    endpoint = "/v1/responses/compact"


async def compact(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    trace = exchange.header(b"traceparent")
    async with recorded(Compactions(), gateway, exchange.id, trace) as record:
        request = compact_request(await posted(gateway, exchange, record))
        owner = gateway.entrance.caller(exchange).owner
        said = await conversation(
            gateway.background, request.input, request.previous_response_id, exchange.id, owner
        )
        asked = understood(gateway, exchange, record, _asked(request, said.items, said.ignored))
        # Nothing is short already.
        answer = await _answered(gateway, exchange, record, asked) if said.items else None
        headers = [JSON, *answer_headers(asked, record.engine), *cost_header(record)]
        await exchange.reply(200, _compacted(exchange, answer), headers)


async def _answered(gateway: Gateway, exchange: Exchange, record: Record, asked: Asked) -> Answered:
    async with exchange:
        with deadline(exchange) as expires_at:
            async with generating(
                gateway, exchange.known_as, asked, expires_at, "input"
            ) as generations:
                (answer,) = await relay.gather(generations, record)
                served_by(gateway, record, generations)
                tell_route(exchange, generations)
    return answer


def _asked(request: CompactRequest, items: tuple[Item, ...], ignored: tuple[str, ...]) -> Asked:
    said = turns(request.instructions, items)
    session = request.prompt_cache_key
    return Asked(
        model=ModelId(request.model or ""),
        prompts=(Chat(turns=(*said, Turn(role="user", content=WISH))),),
        max_tokens=LONGEST,
        session=SessionId(session) if session else None,
        ignored=ignored,
        priority=tier(request.service_tier),
    )


def _summary(exchange: Exchange, answer: Answered) -> Compaction:
    if not answer.text.strip():
        raise MeshError(Code.UPSTREAM, "The model wrote no summary; ask again, or another model.")
    id = item_id(Compaction, exchange.id, 0)
    return Compaction(id=id, encrypted_content=sealed(answer.text))


def _compacted(exchange: Exchange, answer: Answered | None) -> bytes:
    spent = answer.end.usage if answer else Usage(0, 0, 0)
    output = (_summary(exchange, answer),) if answer else ()
    return msgspec.json.encode(
        Compacted(
            id=response_id(exchange.id),
            created_at=int(time.time()),
            output=output,
            usage=usage(spent),
        )
    )
