"""What a node should hold and do. One record a node, changed by compare-and-set.

The plan is what is wanted; how far the node is with it, its heartbeat says.
Each placement carries the memory that is reserved for it, so that the plan is
the node's ledger, too: whoever wins the record wins the memory.
"""

from typing import Literal

from msgspec import Struct

from proto.group import Group
from proto.ids import EngineId, JobId, ModelId, NodeId
from proto.memory import Grant
from proto.message import Message
from proto.presence import ModelKind
from proto.store import StoreTask

PLANS = "plans"
"""The bucket of NodePlan, by node."""

Origin = Literal["flag", "operator", "demand"]
"""Named when the agent was started, asked for by a person, or by a request for the model."""


class Draft(Struct, frozen=True, kw_only=True):
    """A model that guesses for another, in the same engine."""

    model: ModelId
    source: str
    """What the engine is told to load."""


class Placement(Struct, frozen=True, kw_only=True):
    """One engine that a node should run."""

    engine: EngineId
    model: ModelId
    source: str
    """What the engine is told to load."""
    aliases: tuple[ModelId, ...] = ()
    fingerprint: str = ""
    """Of the files it must find; empty: not known when it was placed."""
    kind: ModelKind = "llm"
    grant: Grant
    slots: int | None = None
    """Requests that prefill or decode together; None: the engine's default."""
    origin: Origin
    is_pinned: bool = False
    """Never makes room for another, never ends for being idle."""
    idle_ttl_s: float | None = None
    """Unused for so long, it is unloaded; None: as the settings say."""
    placed_s: float = 0.0
    """Unix time."""
    job: JobId = JobId("")
    """What placed it; empty for a flag."""
    is_draining: bool = False
    """Takes nothing new; it leaves the plan when nothing runs there any more."""
    life: int = 0
    """Grows when its process is to be started anew."""
    draft: Draft | None = None
    """``grant`` has room for it, too."""
    asked_context: int | None = None
    """Tokens of one request, by the order that placed it; None: it left that open. A load that
    follows from a node's loss or drain asks for the same.
    """
    asked_batch: int | None = None
    """Requests of full length side by side, likewise."""
    was_ordered: bool = False
    """Of what an agent was started with: a load has had its say since, and the configuration."""
    group: Group | None = None
    """It is one rank of several; ``grant`` is this rank's part. None: it is an engine by itself."""


def models_of(placement: Placement) -> tuple[ModelId, ...]:
    """Those whose files its engine opens."""
    draft = placement.draft
    return (placement.model,) if draft is None else (placement.model, draft.model)


class WantedTask(Struct, frozen=True, kw_only=True):
    task: StoreTask
    wanted: Literal["run", "pause", "cancel"] = "run"


class Quarantine(Struct, frozen=True, kw_only=True):
    """A model that ended its engine again and again: not started any more on this node."""

    model: ModelId
    source: str
    reason: str
    crashes: int
    at_s: float
    """Unix time."""


class NodePlan(Message, frozen=True, kw_only=True):
    """Written by the scheduler that holds the lease, and by the node's own agent."""

    node: NodeId
    epoch: int = 0
    """Of the newest lease under which it was written: an older leader may not write any more."""
    placements: tuple[Placement, ...] = ()
    tasks: tuple[WantedTask, ...] = ()
    is_drained: bool = False
    """Takes no new requests; what runs may finish."""
    quarantined: tuple[Quarantine, ...] = ()
