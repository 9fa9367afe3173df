"""How fast one node reaches another, as its agent has measured it."""

from typing import Annotated

from msgspec import Meta, Struct

from proto.ids import NodeId
from proto.message import Message

BULK_BYTES = 8 << 20
"""At most so much is sent to find out how fast a link is."""
MOST_ADDRESSES = 8
"""Of one node."""
TICKET_BYTES = 32


class Link(Struct, frozen=True, kw_only=True):
    """From the node whose heartbeat it is in, to one address of another."""

    peer: NodeId
    address: str
    """Of the peer, without a port."""
    is_usual: bool = False
    """The one by which the peer reaches the bus: its ranks listen there if nothing else is said."""
    round_trip_s: float | None = None
    """Of a small message, there and back, in the middle of several; None: it was not reached."""
    bytes_per_s: float = 0.0
    """At which the peer's bytes come; 0: not measured yet, since one of both had no time."""
    trouble: str = ""
    """Why it was not reached."""
    age_s: float = 0.0
    """How long ago that was, when the heartbeat was said."""


class OpenLink(Message, frozen=True, kw_only=True):
    """Ask an agent to let its link be measured. Answered by ``LinkOpened``, or refused while it
    measures with somebody else.
    """

    asker: NodeId
    bulk_bytes: Annotated[int, Meta(ge=0)] = 0
    """It would like to be sent, at each address."""


class LinkOpened(Message, frozen=True, kw_only=True, tag="link_opened"):
    """It listens for a moment, for whoever shows the ticket."""

    ticket: bytes
    port: Annotated[int, Meta(ge=1, le=65535)]
    addresses: Annotated[tuple[str, ...], Meta(max_length=MOST_ADDRESSES)]
    """The usual one first."""
    bulk_bytes: int = 0
    """It is going to send at each address; 0 while its engines are at work."""
