"""A scheduler that leads by a script: for tests of those who ask it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import EngineId, JobId, ModelId, NodeId, fresh
from proto.jobs import Job, NodeProgress, SteerJob, Submit, Submitted, order_kind
from proto.memory import Footprint, grant
from proto.overview import (
    EngineView,
    LookAround,
    MemoryView,
    ModelView,
    NodeView,
    Overview,
    StoredView,
)
from proto.subjects import JOB_TELEMETRY, LOOK_AROUND, STEER_JOB, SUBMIT
from proto.telemetry import JobEvent

FOOTPRINT = Footprint(weights_bytes=2 << 30, kv_bytes_per_token=1 << 16, context_length=8192)


def engine_view(**given: Any) -> EngineView:
    usual: dict[str, Any] = {
        "engine": EngineId("studio-1-qwen"), "model": ModelId("org/qwen-4b"),
        "node": NodeId("studio-1"), "phase": "ready", "grant": grant(FOOTPRINT, 8192, 2),
        "measured_bytes": 2 << 30, "is_pinned": True, "origin": "operator", "slots": 8,
    }  # fmt: skip
    return EngineView(**(usual | given))


NODES = (
    NodeView(
        node=NodeId("studio-1"), state="alive", host="studio-1.local", platform="darwin",
        memory=MemoryView(total=64 << 30, wirable=48 << 30, reserved=4 << 30, measured=2 << 30,
                          free=44 << 30),
        free_disk_bytes=900 * 10**9, engines=(engine_view(),), agent_version="0.1.0",
    ),
    NodeView(node=NodeId("studio-2"), state="draining", host="studio-2.local"),
)  # fmt: skip
MODELS = (
    ModelView(
        model=ModelId("org/qwen-4b"), state="loaded", aliases=(ModelId("qwen"),), family="qwen3",
        quantization="4bit", footprint=FOOTPRINT, engines=(engine_view(),),
        stored=(StoredView(node=NodeId("studio-1"), revision="a" * 40, fingerprint="f",
                           disk_bytes=2_100_000_000),),
    ),
    ModelView(model=ModelId("org/other"), state="stored"),
)  # fmt: skip


@dataclass
class ScriptedLeader:
    """Takes every order; a job goes on when the test says so."""

    bus: Bus
    submitted: list[Submit] = field(default_factory=list)
    steered: list[SteerJob] = field(default_factory=list)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    refusal: MeshError | None = None
    begins_as: dict[str, Any] = field(default_factory=dict)
    """Fields of the jobs to come."""
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_followed: asyncio.Event = field(default_factory=asyncio.Event)
    when_asked: Callable[[], object] = lambda: None
    """Called before every answer, which it changes no more."""

    async def tell(self, id: JobId, **changes: Any) -> None:
        """The job goes on, and so its event says."""
        ended = {"ended_s": time.time()} if changes.get("state", "running") != "running" else {}
        job = replace(self.jobs[id], updated_s=time.time(), **(changes | ended))
        self.jobs[id] = job
        event = JobEvent(
            job=id, kind=order_kind(job.order), state=job.state, phase=job.phase,
            nodes=job.nodes, detail=job.detail, at_s=job.updated_s,
        )  # fmt: skip
        await self.bus.publish(JOB_TELEMETRY, event, id)

    async def fetch(self, id: JobId, done_bytes: int, total_bytes: int = 1000) -> None:
        progress = NodeProgress(
            node=NodeId("studio-1"), phase="fetching", done_bytes=done_bytes,
            total_bytes=total_bytes, detail="model.safetensors",
        )  # fmt: skip
        await self.tell(id, phase="fetching", nodes=(progress,))

    async def the_job(self) -> Job:
        """The one that was ordered last, once one was."""
        async with asyncio.timeout(5):
            await self.was_asked.wait()
        return list(self.jobs.values())[-1]

    async def followed_job(self) -> Job:
        """The same, once somebody hears its events."""
        async with asyncio.timeout(20):
            await self.is_followed.wait()
        return await self.the_job()

    async def _submit(self, asked: Submit) -> Submitted:
        refusal = self.refusal
        self.when_asked()
        if refusal is not None:
            raise refusal
        self.submitted.append(asked)
        now_s = time.time()
        job = Job(
            id=JobId(fresh()), order=asked.order, by=asked.by, created_s=now_s, updated_s=now_s
        )
        self.jobs[job.id] = replace(job, **self.begins_as)
        self.was_asked.set()
        return Submitted(job=self.jobs[job.id])

    async def _steer(self, asked: SteerJob) -> Submitted:
        self.steered.append(asked)
        if asked.job not in self.jobs:
            raise MeshError(Code.NOT_FOUND, f"There is no job {asked.job!r}.", param="job")
        self.jobs[asked.job] = replace(self.jobs[asked.job], wish=asked.wish)
        if asked.wish == "cancel":
            await self.tell(asked.job, state="cancelled")
        return Submitted(job=self.jobs[asked.job])

    async def _look(self, asked: LookAround) -> Overview:
        if asked.job is not None:
            self.is_followed.set()
        known = sorted(self.jobs.values(), key=lambda job: -job.created_s)
        shown = [job for job in known if asked.job in (None, job.id)]
        self.when_asked()
        return Overview(nodes=NODES, models=MODELS, jobs=tuple(shown), leader="s1", epoch=7)


@asynccontextmanager
async def leader(url: str) -> AsyncIterator[ScriptedLeader]:
    async with Bus.connect(url, f"scheduler:{fresh()}") as bus:
        scripted = ScriptedLeader(bus)
        await bus.answer(SUBMIT, scripted._submit)
        await bus.answer(STEER_JOB, scripted._steer)
        await bus.answer(LOOK_AROUND, scripted._look, group="scheduler")
        await bus.settled()
        yield scripted
