"""What is kept of a response, so that any gateway can show it and go on from it."""

from proto.dialects.responses.item import Item
from proto.dialects.responses.response import Response
from proto.ids import GatewayId, ModelId
from proto.message import Message


class StoredResponse(Message, frozen=True, kw_only=True):
    """A response and the whole conversation before it: no other record is needed to go on."""

    response: Response
    items: tuple[Item, ...]
    """Everything that the model was shown before it answered, instructions left out."""
    gateway: GatewayId = GatewayId("")
    """Who generates it, as long as it is not over."""
    tells_events: bool = False
    """Its events are kept for a while, so that a reader may come later, or come back."""

    kept_by: ModelId = ModelId("")
    """The model of a provider that answered it word for word, and has it under the same id: what it
    says of it is the whole truth. Empty: the mesh has it alone.
    """
    is_partial: bool = False
    """Something of it only that provider understands, so that no other model can go on from it."""
    owner: str = ""
    """Who had it made, and is given it; empty: everybody, as no key was known then."""

    def is_for(self, owner: str) -> bool:
        return self.owner in ("", owner)

    @property
    def conversation(self) -> tuple[Item, ...]:
        return (*self.items, *self.response.output)


class ToldEvents(Message, frozen=True, kw_only=True):
    """Some events of a response, as server-sent events without the empty line between."""

    first: int
    """The number of the first of them."""
    events: tuple[bytes, ...]
    is_last: bool = False
    """Nothing follows."""


class CancelResponse(Message, frozen=True, kw_only=True):
    """Ask a gateway to stop what it generates in the background.

    Answered by ``ResponseCancelled``, also where there is nothing to stop any more.
    """

    response: str


class ResponseCancelled(Message, frozen=True, kw_only=True, tag="response_cancelled"):
    """It is over, and the record says how."""
