"""What one look at a job leads to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import structs

from proto.errors import MeshError
from proto.ids import EngineId, ModelId, NodeId
from proto.jobs import Job, JobState, NodeProgress, Order
from services.scheduler.changes import Change

READY = "ready"
DONE = "done"
FAILED = "failed"
SILENT = "silent"


@dataclass(frozen=True)
class RestartTheAgent:
    node: NodeId


@dataclass(frozen=True)
class Forget:
    """Delete what is known of a node, and withdraw its credential."""

    node: NodeId


@dataclass(frozen=True)
class Follow:
    """Submit another order for this job's sake."""

    order: Order
    by: str


@dataclass(frozen=True)
class SetLoadedElsewhere:
    """Tell an engine that is not ours. Told again, it says how far it is."""

    engine: EngineId
    model: ModelId
    is_loaded: bool


Act = RestartTheAgent | Forget | Follow | SetLoadedElsewhere
"""What no plan can say. Done after the plans are written and before the record is."""


@dataclass(frozen=True)
class Step:
    """The job's next record, and what has to be done before it is true."""

    job: Job
    changes: tuple[tuple[NodeId, Change], ...] = ()
    acts: tuple[Act, ...] = ()
    needs: Mapping[NodeId, int] = field(default_factory=dict)
    """Bytes it waits for on a node: later jobs do not touch them."""


@dataclass(frozen=True)
class Move:
    """One node's part of a step."""

    progress: NodeProgress
    changes: tuple[Change, ...] = ()
    error: MeshError | None = None
    needs_bytes: int = 0

    @property
    def is_settled(self) -> bool:
        return self.error is not None or self.progress.phase in (READY, DONE)


def taken(job: Job, moves: Iterable[Move], phase: str) -> Step:
    """The moves of all nodes as one step; the job goes on."""
    moves = list(moves)
    return Step(
        job=structs.replace(job, phase=phase, nodes=tuple(move.progress for move in moves)),
        changes=tuple((m.progress.node, change) for m in moves for change in m.changes),
        needs={m.progress.node: m.needs_bytes for m in moves if m.needs_bytes},
    )


def ended(job: Job, view_s: float, state: JobState, detail: str = "") -> Job:
    return structs.replace(
        job, state=state, phase=state, detail=detail or job.detail, ended_s=view_s
    )


def failed(job: Job, view_s: float, error: MeshError) -> Job:
    return structs.replace(ended(job, view_s, "failed", error.message), error=error.refusal())


def progress(node: NodeId, phase: str, detail: str = "") -> NodeProgress:
    return NodeProgress(node=node, phase=phase, detail=detail)


def words(names: Iterable[EngineId | NodeId | str]) -> str:
    return ", ".join(names) or "none"
