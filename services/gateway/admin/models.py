"""/admin/models: what is where, and having it otherwise."""

import msgspec
from msgspec import Struct

from bus import jobs
from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.jobs import Remove, Unload
from proto.overview import JobView, ModelView, job_view
from services.gateway.admin.carrying import carry_out, end_of, expect_done, ordering
from services.gateway.admin.requests import (
    ConvertBody,
    LoadBody,
    LoadNow,
    PinBody,
    PullBody,
    SyncBody,
    UnloadBody,
    UnloadNow,
)
from services.gateway.gateway import Endpoint, Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import flag

ORDERS: dict[str, Endpoint] = {
    "load": ordering(LoadBody),
    "unload": ordering(UnloadBody),
    "pin": ordering(PinBody),
    "pull": ordering(PullBody, lambda asked: asked.hf_token),
    "sync": ordering(SyncBody),
    "convert": ordering(ConvertBody),
}
"""What is ordered with POST /admin/models/{verb}."""
load_now = ordering(LoadNow)
_unload_one = ordering(UnloadNow)


class ModelViews(Struct, frozen=True):
    models: list[ModelView]


class Jobs(Struct, frozen=True):
    jobs: list[JobView]


async def show_models(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/models. Raises MeshError."""
    seen = await jobs.look_around(gateway.mesh.bus)
    await exchange.reply(200, msgspec.json.encode(ModelViews(list(seen.models))))


async def show_model(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/models/{name}: by its id or another name. Raises MeshError."""
    seen = await jobs.look_around(gateway.mesh.bus)
    meant = gateway.target(name)
    for model in sorted(seen.models, key=lambda model: model.model != meant):
        if meant in (model.model, *model.aliases):
            return await exchange.reply(200, msgspec.json.encode(model))
    raise MeshError(
        Code.MODEL_NOT_FOUND,
        f"No node has a model {name!r}; GET /admin/models lists what there is.",
        param="model",
    )


async def remove_model(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /admin/models/{name}?node=: its files, from those nodes or all. Raises MeshError."""
    nodes = tuple(NodeId(node) for node in exchange.query.get("node", ()))
    order = Remove(model=ModelId(name), nodes=nodes)
    await carry_out(gateway, exchange, order, flag(exchange.query, "wait"))


async def unload_now(gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/unload, with a model in the body or ``?all=true``. Raises MeshError."""
    if flag(exchange.query, "all"):
        await _unload_all(gateway, exchange)
    else:
        await _unload_one(gateway, exchange)


async def _unload_all(gateway: Gateway, exchange: Exchange) -> None:
    """Answered when all of it is done."""
    bus = gateway.mesh.bus
    async with exchange:
        loaded = [model for model in (await jobs.look_around(bus)).models if _is_ours(model)]
        actor = gateway.entrance.actor(exchange)
        begun = [await jobs.submit(bus, Unload(model=model.model), actor) for model in loaded]
        ended = [await end_of(bus, job.id) for job in begun]
        for job in ended:
            expect_done(job)
        await exchange.reply(200, msgspec.json.encode(Jobs([job_view(job) for job in ended])))


def _is_ours(model: ModelView) -> bool:
    """Loaded here, and so ours to unload; an upstream's models are not."""
    return any(engine.origin is not None for engine in model.engines)
