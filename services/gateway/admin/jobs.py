"""/admin/jobs: what goes on, how it goes, and steering it."""

from contextlib import aclosing

import msgspec
from msgspec import Struct

from bus import jobs
from proto.dialects.asked import WAITING
from proto.errors import MeshError
from proto.ids import JobId
from proto.jobs import Job, JobWish
from proto.overview import ErrorView, JobView, LookAround, job_view
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import EVENT_STREAM, Exchange

WISHES: dict[str, JobWish] = {
    "cancel": "cancel",
    "pause": "pause",
    "resume": "run",
    "retry": "run",
}
"""What may stand behind a job in the path."""


class JobList(Struct, frozen=True):
    jobs: list[JobView]
    """The newest first."""


async def show_jobs(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/jobs. Raises MeshError."""
    seen = await jobs.look_around(gateway.mesh.bus, LookAround())
    await exchange.reply(200, msgspec.json.encode(JobList([job_view(job) for job in seen.jobs])))


async def show_job(id: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/jobs/{id}. Raises MeshError."""
    job = await jobs.find(gateway.mesh.bus, JobId(id))
    await exchange.reply(200, msgspec.json.encode(job_view(job)))


async def steer_job(id: str, wish: JobWish, gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/jobs/{id}/{cancel,pause,resume,retry}. Raises MeshError."""
    job = await jobs.steer(gateway.mesh.bus, JobId(id), wish, gateway.entrance.actor(exchange))
    await exchange.reply(202, msgspec.json.encode(job_view(job)))


async def stream_job(id: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/jobs/{id}/events: its states until it is over. Raises MeshError, ClientLeft."""
    async with exchange, aclosing(jobs.follow(gateway.mesh.bus, JobId(id))) as states:
        async for job in states:
            if not exchange.is_started:
                exchange.last_words = _failed
                await exchange.begin(200, EVENT_STREAM)
            await exchange.write(WAITING if job is None else _event(job))
        await exchange.write(b"", more=False)


def _event(job: Job) -> bytes:
    return b"event: job\ndata: %b\n\n" % msgspec.json.encode(job_view(job))


def _failed(error: MeshError) -> bytes:
    told = ErrorView(code=error.code.word, message=error.message, param=error.param)
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(told)
