"""The whole mesh at one look, as any scheduler sees it: for consoles, the admin API, the page."""

from typing import Literal

from msgspec import Struct

from proto.errors import Refused
from proto.group import Group
from proto.ids import EngineId, JobId, ModelId, NodeId
from proto.jobs import Job, JobState, JobWish, NodeProgress, Order
from proto.link import Link
from proto.memory import Footprint, Grant
from proto.message import Message
from proto.plan import Origin, Quarantine
from proto.presence import Drafting, EnginePhase, ModelKind, TaskStatus

NodeState = Literal["alive", "draining", "silent"]
ModelState = Literal["loaded", "loading", "stored", "quarantined", "upstream"]


class EngineView(Struct, frozen=True, kw_only=True):
    engine: EngineId
    model: ModelId
    node: NodeId
    phase: EnginePhase
    detail: str = ""
    grant: Grant | None = None
    measured_bytes: int = 0
    is_pinned: bool = False
    origin: Origin | None = None
    """None: it is of no plan, such as an upstream."""
    slots: int = 0
    running: int = 0
    queued: int = 0
    tokens_per_s: float = 0.0
    idle_s: float = 0.0
    crashes: int = 0
    drafting: Drafting | None = None
    rank: int | None = None
    """Of several that serve the model together; rank 0 is the one that is asked. None: it has all
    of it.
    """
    group: Group | None = None


class MemoryView(Struct, frozen=True, kw_only=True):
    """A node's ledger, in bytes."""

    total: int = 0
    wirable: int = 0
    """What models may take."""
    reserved: int = 0
    measured: int = 0
    """What engines take now."""
    free: int = 0
    """What a further one may take."""


class NodeView(Struct, frozen=True, kw_only=True):
    node: NodeId
    state: NodeState
    host: str = ""
    platform: str = ""
    memory: MemoryView = MemoryView()
    free_disk_bytes: int = 0
    engines: tuple[EngineView, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()
    quarantined: tuple[Quarantine, ...] = ()
    agent_version: str = ""
    links: tuple[Link, ...] = ()
    """To other nodes, as its agent measured them."""
    boot: str = ""
    """The life of its agent; empty while it is not heard."""


class StoredView(Struct, frozen=True, kw_only=True):
    """A model's files on one node."""

    node: NodeId
    revision: str
    fingerprint: str
    disk_bytes: int


class ModelView(Struct, frozen=True, kw_only=True):
    model: ModelId
    state: ModelState
    aliases: tuple[ModelId, ...] = ()
    kind: ModelKind = "llm"
    family: str = ""
    quantization: str = ""
    footprint: Footprint | None = None
    stored: tuple[StoredView, ...] = ()
    engines: tuple[EngineView, ...] = ()
    is_same_everywhere: bool = True
    """False: nodes hold different files under this name."""


class ErrorView(Struct, frozen=True, kw_only=True):
    code: str
    """The word of an ``errors.Code``."""
    message: str
    param: str | None = None


class JobView(Struct, frozen=True, kw_only=True):
    """A job with every field, also those that a message leaves out because they say nothing new."""

    id: JobId
    order: Order
    state: JobState
    wish: JobWish
    phase: str
    nodes: tuple[NodeProgress, ...]
    detail: str
    error: ErrorView | None
    by: str
    created_s: float
    updated_s: float
    ended_s: float | None


def job_view(job: Job) -> JobView:
    return JobView(
        id=job.id,
        order=job.order,
        state=job.state,
        wish=job.wish,
        phase=job.phase,
        nodes=job.nodes,
        detail=job.detail,
        error=_error_view(job.error) if job.error else None,
        by=job.by,
        created_s=job.created_s,
        updated_s=job.updated_s,
        ended_s=job.ended_s,
    )


def _error_view(error: Refused) -> ErrorView:
    return ErrorView(code=error.code, message=error.message, param=error.param)


class LookAround(Message, frozen=True, kw_only=True):
    """Ask a scheduler for all it knows. Answered by ``Overview``."""

    jobs_since_s: float = 0.0
    """Unix time: jobs that ended before it are left out."""
    job: JobId | None = None
    """Only this one, of the jobs."""


class Overview(Message, frozen=True, kw_only=True, tag="overview"):
    nodes: tuple[NodeView, ...]
    models: tuple[ModelView, ...]
    jobs: tuple[Job, ...]
    """The newest first."""
    leader: str = ""
    """The scheduler that holds the lease; empty: none does at this moment."""
    epoch: int = 0
