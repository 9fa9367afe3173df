"""Long administrative acts: what is asked for, and the record of how it goes."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proto.audit import NOBODY, Actor
from proto.choice import WayWish
from proto.errors import Refused
from proto.ids import JobId, ModelId, NodeId
from proto.message import Message

JOBS = "jobs"
"""The bucket of Job, by id."""
KEPT_S = 7 * 86_400.0
"""How long a job is remembered."""

NO_DRAFT = ModelId("none")
"""In the place of a draft model."""

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]


class Load(Struct, frozen=True, kw_only=True, tag="load", forbid_unknown_fields=True):
    """Have a model served. Fetches it first where it is on no node, if ``fetches``."""

    model: ModelId
    nodes: tuple[NodeId, ...] = ()
    """Where; empty: where it fits best. Of several nodes together: by rank."""
    way: WayWish = "auto"
    """By one node, or by several that share it."""
    ranks: Count | None = None
    """On so many nodes together; None: on as few as it takes."""
    cluster: str = ""
    """Of which declared cluster those nodes are; empty: of any, or of none."""
    replicas: Count = 1
    """On so many nodes in all; with ``nodes``, on each of them."""
    context: Count | None = None
    """Tokens of one request; None: as much as fits, up to the model's own."""
    batch: Count | None = None
    """Requests of full length side by side; None: as many as fit, up to 4."""
    slots: Count | None = None
    draft: ModelId | None = None
    """A smaller model that guesses for it; None: as configured, NO_DRAFT: none."""
    is_pinned: bool = False
    idle_ttl_s: Seconds | None = None
    fetches: bool = True
    makes_room: bool = True
    """Unpinned models that are idle may be unloaded for it, the least recently used first."""
    lifts_quarantine: bool = False


class Unload(Struct, frozen=True, kw_only=True, tag="unload", forbid_unknown_fields=True):
    """Serve a model no longer. What runs may finish first, unless ``is_forced``."""

    model: ModelId
    nodes: tuple[NodeId, ...] = ()
    """Where; empty: everywhere."""
    is_forced: bool = False


class Pin(Struct, frozen=True, kw_only=True, tag="pin", forbid_unknown_fields=True):
    """Keep a loaded model whatever else is asked for, or no longer."""

    model: ModelId
    is_pinned: bool = True


class Pull(Struct, frozen=True, kw_only=True, tag="pull", forbid_unknown_fields=True):
    """Fetch a model from the Hugging Face hub."""

    model: ModelId
    revision: str | None = None
    nodes: tuple[NodeId, ...] = ()
    """Where to; empty: the node with the most room."""


class Sync(Struct, frozen=True, kw_only=True, tag="sync", forbid_unknown_fields=True):
    """Copy a model from one node to others."""

    model: ModelId
    source: NodeId | None = None
    """None: any node that has it."""
    nodes: tuple[NodeId, ...] = ()
    """Where to; empty: every other node."""


class Convert(Struct, frozen=True, kw_only=True, tag="convert", forbid_unknown_fields=True):
    """Write a model anew in another form, on a node that has it."""

    model: ModelId
    name: ModelId | None = None
    """What the new one is called; None: the old name with its form added."""
    bits: Annotated[int, Meta(ge=2, le=8)] | None = None
    group_size: Literal[32, 64, 128] = 64
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    node: NodeId | None = None


class Remove(Struct, frozen=True, kw_only=True, tag="remove", forbid_unknown_fields=True):
    """Delete a model's files. Refused where it is loaded."""

    model: ModelId
    nodes: tuple[NodeId, ...] = ()
    """Where; empty: everywhere."""


class Drain(Struct, frozen=True, kw_only=True, tag="drain", forbid_unknown_fields=True):
    """Give a node nothing new: done when nothing runs there any more.

    A model that no other node serves is loaded elsewhere first, where it fits.
    """

    node: NodeId


class Undrain(Struct, frozen=True, kw_only=True, tag="undrain", forbid_unknown_fields=True):
    """Let a node take requests again."""

    node: NodeId


class Restart(Struct, frozen=True, kw_only=True, tag="restart", forbid_unknown_fields=True):
    """Start a node's agent anew; its engines go on, unless they are to be started anew, too."""

    node: NodeId
    engines: bool = False
    """Each is drained first, one after the other; a rank of several with all others."""


class RemoveNode(Struct, frozen=True, kw_only=True, tag="remove_node", forbid_unknown_fields=True):
    """Unload all that a node holds, forget it and withdraw its credential."""

    node: NodeId


Order = (
    Load | Unload | Pin | Pull | Sync | Convert | Remove | Drain | Undrain | Restart | RemoveNode
)

JobState = Literal["running", "paused", "done", "failed", "cancelled"]
JobWish = Literal["run", "pause", "cancel"]
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class NodeProgress(Struct, frozen=True, kw_only=True):
    """What one node does for a job."""

    node: NodeId
    phase: str
    """Such as ``fetching``, ``making room``, ``loading``, ``ready``, ``failed``."""
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""
    rank: int | None = None
    """Of a model that several nodes share; None: the node has all of it."""


class Job(Message, frozen=True, kw_only=True):
    """One order and how it goes. Written by the scheduler that holds the lease."""

    id: JobId
    order: Order
    state: JobState = "running"
    wish: JobWish = "run"
    phase: str = "accepted"
    """In a word or two; a job goes through several."""
    nodes: tuple[NodeProgress, ...] = ()
    detail: str = ""
    """For people: what came of it, or what it waits for."""
    error: Refused | None = None
    by: str = ""
    """Who asked: ``operator``, ``demand``, or the scheduler's reason."""
    created_s: float
    """Unix time, as the next two."""
    updated_s: float
    ended_s: float | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


class Submit(Message, frozen=True, kw_only=True):
    """Ask the scheduler that holds the lease for something long. Answered by ``Submitted``.

    The same order while one like it is under way gets that job: never two of it.
    """

    order: Order
    by: str = "operator"
    hub_token: str = ""
    """For a gated model of the hub. It goes to the nodes and nowhere else."""
    actor: Actor = NOBODY
    """Who is behind it, for the audit log."""


class SteerJob(Message, frozen=True, kw_only=True):
    """Pause a job, let it go on (also one that failed: it is tried again), or cancel it.

    Answered by ``Submitted``.
    """

    job: JobId
    wish: JobWish
    actor: Actor = NOBODY


class Submitted(Message, frozen=True, kw_only=True, tag="submitted"):
    job: Job


class RestartAgent(Message, frozen=True, kw_only=True):
    """Ask an agent to start itself anew, leaving its engines as they are. Answered by
    ``AgentRestarts``, before it does.
    """

    node: NodeId


class AgentRestarts(Message, frozen=True, kw_only=True, tag="agent_restarts"):
    """It is about to."""


def order_kind(order: Order) -> str:
    """Its tag, such as ``load``."""
    tag: Any = order.__struct_config__.tag
    return str(tag)
