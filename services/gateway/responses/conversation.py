"""The whole conversation of a request: what was stored before, and what it brings itself."""

from msgspec import Struct

from proto.dialects.asked import invalid
from proto.dialects.responses.item import (
    Item,
    ItemReference,
    Received,
    named,
    received,
    request_of,
)
from proto.dialects.responses.request import Input
from proto.dialects.responses.response import response_id
from proto.dialects.responses.stored import StoredResponse
from proto.errors import Code, MeshError
from proto.ids import RequestId
from services.gateway.stored.background import Background
from services.gateway.stored.store import Store


class Conversation(Struct, frozen=True):
    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    """Fields and items of the input that have no effect."""
    previous: StoredResponse | None = None
    """The response that it goes on from."""
    names_items: bool = False
    """Some of its items the mesh has stored."""


async def conversation(
    background: Background,
    said: Input | None,
    previous: str | None,
    request: RequestId,
    owner: str,
) -> Conversation:
    """Raises MeshError where a response or an item is named that is not stored, or not for
    ``owner``.
    """
    given = received(said)
    found = None if previous is None else _readable(await owned(background, previous, owner))
    before = found.conversation if found else ()
    own = await _resolved(background.store, given, before, owner)
    return Conversation(
        (*before, *named(own, request, "i")),
        given.ignored,
        found,
        any(isinstance(item, ItemReference) for item in given.items),
    )


async def owned(background: Background, id: str, owner: str) -> StoredResponse:
    """A response to go on from. Raises MeshError where it is not stored, or not for ``owner``: a
    provider, for whom all keys of the mesh are one account, is not even asked.
    """
    found = await background.find(id)
    if found is None or not found.is_for(owner):
        raise MeshError(
            Code.PREVIOUS_NOT_FOUND,
            f"Previous response with id {id!r} not found. It was not stored, was deleted, or has "
            "expired; send its conversation as input.",
            param="previous_response_id",
        )
    return found


def _readable(found: StoredResponse) -> StoredResponse:
    """Raises MeshError where its conversation is not whole."""
    id = found.response.id
    if not found.response.is_over:
        raise invalid(
            f"The response {id!r} is still being generated; go on from it when it is over.",
            "previous_response_id",
        )
    if found.is_partial:
        raise invalid(
            f"The response {id!r} has parts that only {found.kept_by} understands; go on with a "
            "model of that provider, or send its conversation as input.",
            "previous_response_id",
        )
    return found


async def _resolved(
    store: Store, given: Received, before: tuple[Item, ...], owner: str
) -> tuple[Item, ...]:
    known = {item.id: item for item in before}
    resolved: list[Item] = []
    for item in given.items:
        if isinstance(item, ItemReference):
            if item.id not in known:
                known |= await _stored_with(store, item.id, owner)
            resolved.append(known[item.id])
        else:
            resolved.append(item)
            known[item.id] = item
    return tuple(resolved)


async def _stored_with(store: Store, id: str, owner: str) -> dict[str, Item]:
    """The items of the response that an item belongs to, by their ids."""
    request = request_of(id)
    found = await store.find(response_id(RequestId(request))) if request else None
    stored = found[0] if found is not None and found[0].is_for(owner) else None
    items = {item.id: item for item in stored.conversation} if stored else {}
    if id not in items:
        raise MeshError(
            Code.NOT_FOUND,
            f"Item with id {id!r} not found. Its response was not stored, was deleted, or has "
            "expired; send the item itself.",
            param="input",
        )
    return items
