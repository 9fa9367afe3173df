"""Asking whoever leads, and following a job, while not all schedulers have heard the same."""

from contextlib import aclosing

import pytest
from msgspec.structs import replace

from bus import jobs
from bus.connection import Bus
from proto.audit import NOBODY
from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.jobs import Job, NodeProgress, Pull
from proto.telemetry import JobEvent
from tests.scripted_leader import leader

JOB = Job(id=JobId("j"), order=Pull(model=ModelId("m")), created_s=100.0, updated_s=100.0)


def event(at_s: float) -> JobEvent:
    nodes = (NodeProgress(node=NodeId("n"), phase="fetching", done_bytes=5),)
    return JobEvent(
        job="j", kind="pull", state="running", phase="fetching", nodes=nodes, detail="d", at_s=at_s
    )


def test_an_event_is_the_jobs_newest_state() -> None:
    now = jobs.after(JOB, event(101.0))

    assert (now.phase, now.detail, now.updated_s) == ("fetching", "d", 101.0)
    assert now.nodes[0].done_bytes == 5
    assert now.order == JOB.order


def test_an_event_that_is_older_than_the_record_changes_nothing() -> None:
    assert jobs.after(JOB, event(99.0)) == JOB


async def test_a_job_that_one_scheduler_has_not_heard_of_yet_is_found(
    bus: Bus, nats_url: str
) -> None:
    async with leader(nats_url) as leading:
        job = await jobs.submit(bus, Pull(model=ModelId("m")), NOBODY)
        late = leading.jobs.pop(job.id)
        async with aclosing(jobs.follow(bus, job.id)) as states:
            leading.when_asked = lambda: leading.jobs.setdefault(job.id, late)

            assert await anext(states) == job


async def test_a_scheduler_that_is_behind_turns_nothing_back(
    bus: Bus, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SILENCE_S", 0.1)
    async with leader(nats_url) as leading:
        job = await jobs.submit(bus, Pull(model=ModelId("m")), NOBODY)
        async with aclosing(jobs.follow(bus, job.id)) as states:
            await anext(states)
            await leading.fetch(job.id, 400)
            ahead = await anext(states)
            leading.jobs[job.id] = job

            assert ahead is not None
            assert ahead.phase == "fetching"
            assert await anext(states) is None


async def test_one_that_leads_no_more_is_asked_again(bus: Bus, nats_url: str) -> None:
    async with leader(nats_url) as leading:
        leading.refusal = MeshError(Code.NO_LEADER, "I lead no more.")
        leading.when_asked = lambda: setattr(leading, "refusal", None)

        assert (await jobs.submit(bus, Pull(model=ModelId("m")), NOBODY)).state == "running"


async def test_who_asks_for_a_job_that_never_was_is_told(bus: Bus, nats_url: str) -> None:
    async with leader(nats_url):
        with pytest.raises(MeshError, match="There is no job 'never'"):
            await jobs.find(bus, JobId("never"))


async def test_why_a_job_failed_is_read_where_it_is_whole(bus: Bus, nats_url: str) -> None:
    """The event says that it failed; the record, read a moment later, says why."""
    async with leader(nats_url) as leading:
        job = await jobs.submit(bus, Pull(model=ModelId("m")), NOBODY)
        why = MeshError(Code.NO_DISK, "Full.").refusal()
        async with aclosing(jobs.follow(bus, job.id)) as states:
            await anext(states)
            await leading.tell(job.id, state="failed", error=why)
            whole = leading.jobs[job.id]
            leading.jobs[job.id] = replace(job, state="running")
            leading.when_asked = lambda: leading.jobs.update({job.id: whole})

            assert await anext(states) == whole
