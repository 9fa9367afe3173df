"""How a model could be served: by one node or by several, what each would hold, how fast it is."""

from typing import Literal

from msgspec import Struct

from proto.group import Backend
from proto.ids import ModelId, NodeId
from proto.memory import Grant
from proto.message import Message

Way = Literal["solo", "tensor", "pipeline"]
"""``solo``: one node has all of it; the others as ``group.Split``."""
WayWish = Literal["auto", "solo", "tensor", "pipeline"]
"""``auto``: one node if it fits on one, else as few as it takes, in the way that is fastest."""


class Share(Struct, frozen=True, kw_only=True):
    """What one node would hold."""

    node: NodeId
    grant: Grant
    layers: int = 0
    """pipeline: how many it would compute."""
    free_bytes: int = 0
    """What a further engine may take there at this moment."""
    is_stored: bool = False
    """It has the files."""
    address: str = ""
    """Where it would meet the others; empty: at the one by which it reaches the bus."""


class Hop(Struct, frozen=True, kw_only=True):
    """What a message from one node of a group to another takes, at the slowest link of them."""

    latency_s: float
    bytes_per_s: float = 0.0
    """0: not known."""
    is_measured: bool = False
    """By the nodes themselves; else an operator said so, or it is what is usual."""
    tokens_per_s: float = 0.0
    """As many as could be, were there nothing to wait for but the links."""


class Choice(Struct, frozen=True, kw_only=True):
    """One way to serve a model, whether or not it can be gone."""

    way: Way
    shares: tuple[Share, ...]
    """By rank."""
    backend: Backend | None = None
    """None: solo."""
    cluster: str = ""
    """The declared one whose links it uses, if any."""
    hop: Hop | None = None
    """None: solo, or nothing is known of it."""
    why_not: str = ""
    """What stands against it, for people; empty: nothing does."""
    needs_room: bool = False
    """Other models would have to be unloaded first."""
    tokens_per_s: float = 0.0
    """The most that one answer could have, since each token reads the weights and waits for the
    links; 0: of some chip it is not known how fast it reads.
    """
    speed: float = 0.0
    """The same against one such node that could hold all of it."""


class Weigh(Message, frozen=True, kw_only=True):
    """Ask a scheduler how a model could be served. Answered by ``Weighed``; nothing is changed."""

    model: ModelId
    way: WayWish = "auto"
    ranks: int | None = None
    nodes: tuple[NodeId, ...] = ()
    """These together, by rank; empty: whichever."""
    cluster: str = ""
    context: int | None = None
    batch: int | None = None


class Weighed(Message, frozen=True, kw_only=True, tag="weighed"):
    model: ModelId
    choices: tuple[Choice, ...]
    """The first is the one that would be taken, if it can be gone."""
    draft: ModelId | None = None
    """The configured one, which one node alone would load as well: its memory is counted there.
    Several nodes together have none.
    """
