"""Orders and wishes, from a request to the answer: the job, at once or when it is over."""

from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec

from bus import jobs
from bus.connection import Bus
from proto.dialects.asked import decode
from proto.errors import Code, MeshError
from proto.ids import JobId
from proto.jobs import Job, Order
from proto.overview import job_view
from services.gateway.admin.requests import Ordered
from services.gateway.gateway import Endpoint, Gateway
from services.gateway.generate import expect_json
from services.gateway.http.exchange import Exchange

R = TypeVar("R")
B = TypeVar("B", bound=Ordered)


def ordering(body: type[B], hub_token: Callable[[B], str] = lambda _: "") -> Endpoint:
    """The endpoint that carries out what such a body asks for."""
    decoder = msgspec.json.Decoder(body)

    async def carry(gateway: Gateway, exchange: Exchange) -> None:
        asked = await read(gateway, exchange, decoder)
        await carry_out(gateway, exchange, asked.order(), asked.wait, hub_token(asked))

    return carry


async def read(gateway: Gateway, exchange: Exchange, decoder: msgspec.json.Decoder[R]) -> R:
    """The body; an empty one asks for nothing in particular. Raises MeshError, ClientLeft."""
    sent = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    return decode(decoder, sent.strip() or b"{}", {})


async def carry_out(
    gateway: Gateway, exchange: Exchange, order: Order, waits: bool, hub_token: str = ""
) -> None:
    """Order it, and answer with the job. Raises MeshError, ClientLeft."""
    async with exchange:
        actor = gateway.entrance.actor(exchange)
        job = await jobs.submit(gateway.mesh.bus, order, actor, hub_token)
        exchange.standing.append((b"location", f"/admin/jobs/{job.id}".encode()))
        if waits and not job.is_over:
            job = await end_of(gateway.mesh.bus, job.id)
        await show_job(exchange, job)


async def end_of(bus: Bus, job: JobId) -> Job:
    """The job when it is over. Raises MeshError."""
    async with aclosing(jobs.follow(bus, job)) as states:
        async for state in states:
            if state is not None and state.is_over:
                return state
    raise AssertionError("a job is followed to its end")


async def show_job(exchange: Exchange, job: Job) -> None:
    """202 while it goes on. Raises the MeshError that it ended with."""
    expect_done(job)
    await exchange.reply(200 if job.is_over else 202, msgspec.json.encode(job_view(job)))


def expect_done(job: Job) -> None:
    """Raises MeshError when it is over without having done what it should."""
    if job.state not in ("failed", "cancelled"):
        return
    if job.error is not None:
        raise job.error.error()
    if job.state == "cancelled":
        raise MeshError(Code.CANCELLED, f"The job {job.id} was cancelled.")
    raise MeshError(Code.INTERNAL, job.detail or f"The job {job.id} failed; see its node's log.")
