"""What is asked of the admin API, and the order that each comes to."""

from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from proto.choice import WayWish
from proto.dialects.asked import Count, NonEmpty
from proto.ids import ModelId, NodeId
from proto.jobs import Convert, Load, Order, Pin, Pull, Sync, Unload

Nodes = list[NonEmpty]
Seconds = Annotated[float, Meta(ge=0)]


class Ordered(Protocol):
    """What comes to an order."""

    wait: bool

    def order(self) -> Order: ...


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    wait: bool = False
    """The answer is the job when it is over, not when it begins."""


class LoadBody(Body, kw_only=True):
    """Have a model served."""

    model: NonEmpty
    nodes: Nodes = []
    split: WayWish = "auto"
    """By one node, or by several that share it; auto: one if it fits on one."""
    ranks: Count | None = None
    """On so many nodes together: those of ``nodes``, if any are named."""
    cluster: str = ""
    """Of which declared cluster those are."""
    replicas: Count = 1
    """On so many nodes in all; with ``nodes``, on each of them."""
    context: Count | None = None
    """Tokens of one request; null: as much as fits."""
    batch: Count | None = None
    """Requests of full length side by side; null: as many as fit, up to 4."""
    slots: Count | None = None
    draft: NonEmpty | None = None
    """A smaller model that guesses for it; null: as configured, ``none``: none."""
    pinned: bool = False
    idle_ttl_s: Seconds | None = None
    fetches: bool = True
    """From the hub, where no node has it."""
    makes_room: bool = True
    """Unpinned models that are idle may be unloaded for it."""
    lifts_quarantine: bool = False

    def order(self) -> Load:
        return Load(
            model=ModelId(self.model),
            nodes=_nodes(self.nodes),
            way=self.split,
            ranks=self.ranks,
            cluster=self.cluster,
            replicas=self.replicas,
            context=self.context,
            batch=self.batch,
            slots=self.slots,
            draft=None if self.draft is None else ModelId(self.draft),
            is_pinned=self.pinned,
            idle_ttl_s=self.idle_ttl_s,
            fetches=self.fetches,
            makes_room=self.makes_room,
            lifts_quarantine=self.lifts_quarantine,
        )


class LoadNow(LoadBody, kw_only=True):
    """The same, for Telemak's clients: they take the answer for the model's being there."""

    wait: bool = True


class UnloadBody(Body, kw_only=True):
    """Serve a model no longer."""

    model: NonEmpty
    nodes: Nodes = []
    force: bool = False
    """Do not wait for what runs."""

    def order(self) -> Unload:
        return Unload(model=ModelId(self.model), nodes=_nodes(self.nodes), is_forced=self.force)


class UnloadNow(UnloadBody, kw_only=True):
    """The same, for Telemak's clients."""

    wait: bool = True


class PinBody(Body, kw_only=True):
    """Keep a loaded model whatever else is asked for, or no longer."""

    model: NonEmpty
    pinned: bool = True

    def order(self) -> Pin:
        return Pin(model=ModelId(self.model), is_pinned=self.pinned)


class PullBody(Body, kw_only=True):
    """Fetch a model from the Hugging Face hub."""

    model: NonEmpty
    revision: NonEmpty | None = None
    nodes: Nodes = []
    hf_token: str = ""
    """For a gated model. It is kept nowhere and shown to nobody."""

    def order(self) -> Pull:
        return Pull(model=ModelId(self.model), revision=self.revision, nodes=_nodes(self.nodes))


class SyncBody(Body, kw_only=True):
    """Copy a model from one node to others."""

    model: NonEmpty
    source: NonEmpty | None = None
    nodes: Nodes = []
    """Where to; empty: every other node."""

    def order(self) -> Sync:
        source = NodeId(self.source) if self.source else None
        return Sync(model=ModelId(self.model), source=source, nodes=_nodes(self.nodes))


class ConvertBody(Body, kw_only=True):
    """Write a model anew in another form."""

    model: NonEmpty
    name: NonEmpty | None = None
    bits: Annotated[int, Meta(ge=2, le=8)] | None = None
    group_size: Literal[32, 64, 128] = 64
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    node: NonEmpty | None = None

    def order(self) -> Convert:
        return Convert(
            model=ModelId(self.model),
            name=ModelId(self.name) if self.name else None,
            bits=self.bits,
            group_size=self.group_size,
            dtype=self.dtype,
            node=NodeId(self.node) if self.node else None,
        )


class NodeBody(Body, kw_only=True):
    """What is done with a node, which the path names. It may be left out."""


class RestartBody(NodeBody, kw_only=True):
    """Start a node's agent anew."""

    engines: bool = False
    """Its engines as well, each when nothing runs there any more."""


def _nodes(names: list[str]) -> tuple[NodeId, ...]:
    return tuple(map(NodeId, names))
