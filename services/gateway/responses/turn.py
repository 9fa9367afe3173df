"""A request to the Responses API, understood: what to ask, and what becomes of the answer."""

import time
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.asked import Asked
from proto.dialects.responses.event import Events
from proto.dialects.responses.item import Item
from proto.dialects.responses.request import CreateRequest, create_request
from proto.dialects.responses.response import opened
from proto.dialects.responses.stored import StoredResponse
from proto.effective import value
from proto.ids import ModelId
from services.gateway.answering.record import Record
from services.gateway.asking.placing import first_that_chats
from services.gateway.gateway import Gateway
from services.gateway.generate import posted, understood
from services.gateway.http.exchange import Exchange
from services.gateway.openai import OpenAi
from services.gateway.responses.conversation import conversation
from services.gateway.responses.truncation import truncated


class Responses(OpenAi):
    endpoint = "/v1/responses"


ENDPOINT = Responses()


class Turn(Struct):
    request: CreateRequest
    asked: Asked
    items: tuple[Item, ...]
    """The whole conversation before the answer."""
    events: Events
    owner: str
    """Of the key that asks."""

    def stored(self) -> StoredResponse:
        return StoredResponse(response=self.events.response, items=self.items, owner=self.owner)


async def read(gateway: Gateway, exchange: Exchange, record: Record) -> Turn:
    """Raises MeshError, ClientLeft."""
    request = create_request(await posted(gateway, exchange, record))
    named = request.model or value(gateway.config.effective.default_model, "")
    may_use = partial(gateway.entrance.may_use, exchange)
    model = ModelId(named or first_that_chats(gateway.fleet, may_use))
    owner = gateway.entrance.caller(exchange).owner
    said = await conversation(
        gateway.background, request.input, request.previous_response_id, exchange.id, owner
    )
    offered = request.offered()
    asked = request.asked(model, said.items, offered)
    asked = replace(asked, ignored=(*asked.ignored, *offered.ignored, *said.ignored))
    asked = understood(gateway, exchange, record, asked)
    if request.truncation == "auto":
        asked = await truncated(gateway, asked)
    events = Events(
        opened(request, offered, model, exchange.id, int(time.time())),
        offered,
        exchange.id,
        tells_summary=request.tells_summary,
        seals_reasoning=request.seals_reasoning,
    )
    return Turn(request, asked, said.items, events, owner)
