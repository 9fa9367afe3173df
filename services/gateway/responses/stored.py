"""/v1/responses/{id} and what is below it: shown, deleted, cancelled, its input listed."""

import msgspec
from msgspec.structs import replace

from proto.dialects.asked import Asked, invalid
from proto.dialects.responses.item import Item
from proto.dialects.responses.response import Deleted, ItemPage
from proto.dialects.responses.stored import StoredResponse
from proto.errors import Code, MeshError
from proto.generation import Method, Verbatim
from services.gateway.answering.record import Record
from services.gateway.gateway import Gateway
from services.gateway.generate import understood
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import Query, flag, number, single
from services.gateway.own_words import UNSPOKEN
from services.gateway.passing import passed
from services.gateway.responses.replay import tell
from services.gateway.responses.turn import ENDPOINT
from services.gateway.stored.store import not_found

MOST_ITEMS = 100
ITEMS = 20
LARGEST = 2**31


def _id(exchange: Exchange) -> str:
    """Of the response that the path names."""
    return exchange.path.split("/")[3]


async def _find(gateway: Gateway, exchange: Exchange) -> StoredResponse:
    stored = await gateway.background.find(_id(exchange))
    if stored is None or not stored.is_for(gateway.entrance.caller(exchange).owner):
        raise not_found(_id(exchange))
    return stored


async def _of_its_provider(
    gateway: Gateway, exchange: Exchange, stored: StoredResponse, method: Method = "GET"
) -> bytes:
    """What the provider that keeps it says to the same request. Raises MeshError, ClientLeft."""
    below = exchange.path.removeprefix(ENDPOINT.endpoint) + exchange.search
    verbatim = Verbatim(endpoint=ENDPOINT.endpoint, below=below, method=method)
    record = Record(exchange.id, ENDPOINT)  # Nothing is generated, so that nobody is told.
    asked = understood(gateway, exchange, record, Asked(model=stored.kept_by, prompts=UNSPOKEN))
    try:
        return await passed(
            gateway, exchange, record, replace(asked, fallbacks=(), verbatim=verbatim)
        )
    except MeshError as error:
        if error.code is not Code.MODEL_NOT_FOUND:
            raise
        await gateway.background.store.delete(stored.response.id)
        raise not_found(stored.response.id) from error


async def retrieve(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    stored = await _find(gateway, exchange)
    if stored.kept_by and not flag(exchange.query, "stream"):
        return await exchange.reply(200, await _of_its_provider(gateway, exchange, stored))
    if stored.is_partial:
        raise invalid(
            f"What {stored.response.id!r} told as a stream only {stored.kept_by} could tell again; "
            "retrieve it without `stream`.",
            "stream",
        )
    if not flag(exchange.query, "stream"):
        return await exchange.reply(200, stored.response.encoded())
    after = number(exchange.query, "starting_after", -1, least=0, most=LARGEST)
    return await tell(gateway, exchange, stored, [], after)


async def delete(gateway: Gateway, exchange: Exchange) -> None:
    """What is still being generated is stopped first. Raises MeshError."""
    stored = await _find(gateway, exchange)
    if not stored.response.is_over:
        await gateway.background.cancel(stored)
    said = msgspec.json.encode(Deleted(stored.response.id))
    if stored.kept_by:
        said = await _of_its_provider(gateway, exchange, stored, "DELETE")
    await gateway.background.store.delete(stored.response.id)
    await exchange.reply(200, said)


async def cancel(gateway: Gateway, exchange: Exchange) -> None:
    """One that is over stays as it is. Raises MeshError."""
    stored = await _find(gateway, exchange)
    if not stored.response.background:
        raise invalid(
            "Only a response that was created with `background: true` can be cancelled; "
            "close the connection of any other.",
            "response_id",
        )
    if not stored.response.is_over:
        stored = await gateway.background.cancel(stored)
    await exchange.reply(200, stored.response.encoded())


async def list_input(gateway: Gateway, exchange: Exchange) -> None:
    """The whole conversation that was answered, the latest item first. Raises MeshError."""
    stored = await _find(gateway, exchange)
    if stored.kept_by:
        said = await _of_its_provider(gateway, exchange, stored)
    else:
        said = msgspec.json.encode(_input(stored, exchange.query))
    await exchange.reply(200, said)


def _input(stored: StoredResponse, query: Query) -> ItemPage:
    """Raises MeshError."""
    limit = number(query, "limit", ITEMS, least=0, most=MOST_ITEMS)
    order = single(query, "order") or "desc"
    if order not in ("asc", "desc"):
        raise invalid(f"`order` is {order!r}; say asc or desc.", "order")
    items = stored.items if order == "asc" else stored.items[::-1]
    return _page(_after(items, single(query, "after")), limit)


def _after(items: tuple[Item, ...], id: str | None) -> tuple[Item, ...]:
    if id is None:
        return items
    place = next((at for at, item in enumerate(items) if item.id == id), None)
    if place is None:
        raise invalid(f"`after`: there is no item {id!r} in this input.", "after")
    return items[place + 1 :]


def _page(items: tuple[Item, ...], limit: int) -> ItemPage:
    shown = items[:limit]
    return ItemPage(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(items) > limit,
    )
