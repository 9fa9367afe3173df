"""What Ollama's clients do to models: fetch them, and delete them. For those who may."""

from contextlib import aclosing
from hashlib import sha256

import msgspec
from msgspec import Struct

from bus import jobs
from proto.dialects import ollama
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.jobs import Job, Pull, Remove
from services.gateway.admin.carrying import end_of, expect_done
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_json
from services.gateway.http.exchange import JSON, Exchange
from services.gateway.keys.guard import Asked
from services.gateway.ollama.models import Status, entry_of
from services.gateway.ollama.running import LINES


class Fetching(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a fetch is. The client draws one bar for each ``digest``."""

    status: str
    digest: str = ""
    """Names the fetch; no sum of what is fetched, which is many files."""
    total: int = 0
    completed: int = 0


SUCCESS = Status("success")
ADMINISTRATION = Asked("admin", is_administration=True)


async def pull(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/pull: a model that is served is as good as pulled. Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = ollama.named(body)
    streams = asked.stream is not False
    if _is_served(gateway, exchange, asked.wanted):
        line = msgspec.json.encode(SUCCESS)
        return await exchange.reply(200, line + b"\n" * streams, LINES if streams else [JSON])
    order = Pull(model=_hub_id(asked.wanted))
    gateway.entrance.expect(exchange, ADMINISTRATION)
    async with exchange:
        job = await jobs.submit(gateway.mesh.bus, order, gateway.entrance.actor(exchange))
        if streams:
            return await _tell(gateway, exchange, job)
        expect_done(await end_of(gateway.mesh.bus, job.id))
        return await exchange.reply(200, msgspec.json.encode(SUCCESS))


async def delete(gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /api/delete: its files, on every node. Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    order = Remove(model=_bare(ollama.named(body).wanted))
    async with exchange:
        job = await jobs.submit(gateway.mesh.bus, order, gateway.entrance.actor(exchange))
        expect_done(await end_of(gateway.mesh.bus, job.id))
        await exchange.reply(200, msgspec.json.encode(SUCCESS))


async def _tell(gateway: Gateway, exchange: Exchange, job: Job) -> None:
    """One line for every change, the last one again where nothing changes."""
    exchange.last_words = _failed
    await exchange.begin(200, LINES)
    line = _line(Fetching(status="pulling manifest"))
    await exchange.write(line)
    async with aclosing(jobs.follow(gateway.mesh.bus, job.id)) as states:
        async for state in states:
            if state is not None:
                expect_done(state)
                line = _line(fetching(state))
            await exchange.write(line)
    await exchange.write(_line(SUCCESS), more=False)


def fetching(job: Job) -> Fetching:
    """All nodes together: the dialect knows one."""
    total = sum(node.total_bytes for node in job.nodes)
    if not total or not isinstance(job.order, Pull):
        return Fetching(status=job.phase)
    return Fetching(
        status=f"pulling {job.order.model}",
        digest="sha256:" + sha256(job.order.model.encode()).hexdigest(),
        total=total,
        completed=sum(node.done_bytes for node in job.nodes),
    )


def _is_served(gateway: Gateway, exchange: Exchange, name: str) -> bool:
    try:
        entry_of(gateway, exchange, name)
    except MeshError as error:
        if error.code is not Code.MODEL_NOT_FOUND:
            raise
        return False
    return True


def _hub_id(name: str) -> ModelId:
    """Raises MeshError for what cannot be on the Hugging Face hub: this vendor's own names."""
    bare = _bare(name)
    if bare.count("/") != 1:
        raise MeshError(
            Code.MODEL_NOT_FOUND,
            f"model '{name}' is not here, and is no name of the Hugging Face hub; "
            "pull org/name from there. GET /api/tags lists what there is.",
            param="model",
        )
    return bare


def _bare(name: str) -> ModelId:
    """Without the tag that clients of this dialect add."""
    return ModelId(name.removesuffix(":latest"))


def _line(told: Struct) -> bytes:
    return msgspec.json.encode(told) + b"\n"


def _failed(error: MeshError) -> bytes:
    return ollama.envelope(error) + b"\n"
