"""A request to the Responses API, understood: what to ask, and what becomes of the answer."""

import time
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.asked import Asked
from proto.dialects.responses.event import Events
from proto.dialects.responses.item import Item
from proto.dialects.responses.request import CreateRequest, create_request
from proto.dialects.responses.response import opened
from proto.dialects.responses.stored import StoredResponse
from proto.dialects.responses.tool import Offered
from proto.effective import value
from proto.errors import MeshError
from proto.ids import ModelId
from services.gateway.answering.record import Record
from services.gateway.asking.placing import first_that_chats
from services.gateway.gateway import Gateway
from services.gateway.generate import posted, understood
from services.gateway.http.exchange import Exchange
from services.gateway.openai import OpenAi
from services.gateway.own_words import in_own_words, unread
from services.gateway.responses.conversation import Conversation, conversation, owned
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
    is_read: bool = True
    """False: it can only be said in the client's own words."""

    @property
    def may_be_verbatim(self) -> bool:
        return any(each.verbatim for each in (self.asked, *self.asked.fallbacks))

    def stored(self) -> StoredResponse:
        return StoredResponse(response=self.events.response, items=self.items, owner=self.owner)


async def read(gateway: Gateway, exchange: Exchange, record: Record) -> Turn:
    """Raises MeshError, ClientLeft."""
    body = await posted(gateway, exchange, record)
    try:
        draft, refused = await _understood(gateway, exchange, body), None
    except MeshError as error:
        known = await _unread(gateway, exchange, body)
        if known is None:
            raise
        draft, refused = known, error
    asked = understood(gateway, exchange, record, draft.asked)
    if _may_go_as_it_came(gateway, draft, asked.model):
        asked = in_own_words(gateway, exchange, ENDPOINT.endpoint, body, asked, refused)
    if draft.request.truncation == "auto" and asked.verbatim is None:
        asked = await truncated(gateway, asked)
    request, offered = draft.request, draft.offered
    events = Events(
        opened(request, offered, draft.asked.model, exchange.id, int(time.time())),
        offered,
        exchange.id,
        tells_summary=request.tells_summary,
        seals_reasoning=request.seals_reasoning,
    )
    owner = gateway.entrance.caller(exchange).owner
    return Turn(request, asked, draft.said.items, events, owner, refused is None)


class _Draft(Struct, frozen=True):
    request: CreateRequest
    offered: Offered
    said: Conversation
    asked: Asked


async def _understood(gateway: Gateway, exchange: Exchange, body: bytes) -> _Draft:
    """Raises MeshError."""
    request = create_request(body)
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
    return _Draft(request, offered, said, asked)


class _Plan(Struct, frozen=True):
    background: Any = None
    previous_response_id: Any = None


async def _unread(gateway: Gateway, exchange: Exchange, body: bytes) -> _Draft | None:
    """What only its provider understands; None where that is not all that may serve it.

    What is to be done in the background the mesh does itself, so that has to be understood. Raises
    MeshError where it goes on from what is not its client's.
    """
    asked = unread(gateway, ENDPOINT.endpoint, body)
    if asked is None:
        return None
    plan = msgspec.json.decode(body, type=_Plan)
    if plan.background:
        return None
    if plan.previous_response_id is not None:
        owner = gateway.entrance.caller(exchange).owner
        await owned(gateway.background, str(plan.previous_response_id), owner)
    request = CreateRequest(model=asked.model, stream=asked.stream)
    return _Draft(request, request.offered(), Conversation((), ()), asked)


def _may_go_as_it_came(gateway: Gateway, draft: _Draft, model: ModelId) -> bool:
    """Its provider knows all that it goes on from."""
    said = draft.said
    if draft.request.background or said.names_items:
        return False
    return said.previous is None or _is_kept_by(gateway, said.previous.kept_by, model)


def _is_kept_by(gateway: Gateway, keeper: ModelId, model: ModelId) -> bool:
    """Whether one provider has both; ``keeper`` is empty where the mesh alone has it."""
    return bool(keeper) and _providers(gateway, keeper) == _providers(gateway, model)


def _providers(gateway: Gateway, model: ModelId) -> set[str]:
    return {beat.provider for beat in gateway.fleet.holders(model)}
