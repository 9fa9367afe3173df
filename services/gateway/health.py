"""Is the process alive, can it serve, and what is there."""

import time
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from proto.effective import captures
from proto.keys import may_use
from services.gateway.contract import NAME
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.keys.guard import Access
from services.host import VERSION


class Health(Struct, frozen=True, kw_only=True):
    """Strangers, where keys are asked for, hear the first four only."""

    status: Literal["ok"]
    """The process lives; whether it can serve is told by /ready."""
    version: str
    uptime_s: float
    access: Access
    """Whom it serves: whoever is on this machine, holders of keys, or strangers as well."""
    models_loaded: list[str] | UnsetType = UNSET
    open_requests: int | UnsetType = UNSET
    requests_served: int | UnsetType = UNSET
    requests_refused: int | UnsetType = UNSET
    """For lack of a key that was good for them."""
    captures: bool
    """Prompts and answers are told on telemetry."""


class Readiness(Struct, frozen=True):
    ready: bool
    why: str
    """Nothing, for strangers."""


class Welcome(Struct, frozen=True):
    name: str
    version: str
    openapi: str
    models: str
    contract: str


async def show_health(gateway: Gateway, exchange: Exchange) -> None:
    health = Health(
        status="ok",
        version=VERSION,
        uptime_s=round(time.monotonic() - gateway.started, 3),
        access=gateway.entrance.guard.access,
        captures=captures(gateway.config.effective),
    )
    caller = gateway.entrance.known(exchange, "models")
    if caller is not None:
        there = [card.id for card in gateway.fleet.models()]
        health = replace(
            health,
            models_loaded=[model for model in there if may_use(caller.models, model)],
            open_requests=len(gateway.open),
            requests_served=gateway.served,
            requests_refused=gateway.entrance.attempts.refused,
        )
    await exchange.reply(200, msgspec.json.encode(health))


async def show_readiness(gateway: Gateway, exchange: Exchange) -> None:
    readiness = _readiness(gateway)
    if gateway.entrance.known(exchange, "models") is None:
        readiness = replace(readiness, why="")
    await exchange.reply(200 if readiness.ready else 503, msgspec.json.encode(readiness))


def _readiness(gateway: Gateway) -> Readiness:
    if gateway.is_leaving:
        return Readiness(False, "This gateway is stopping; ask another one.")
    if not gateway.mesh.bus.is_connected:
        return Readiness(False, "The bus cannot be reached; is nats-server running?")
    models = gateway.fleet.models()
    if not models:
        loading = sum(beat.state == "loading" for beat in gateway.fleet.engines())
        return Readiness(False, f"No engine serves a model yet; {loading} are loading.")
    return Readiness(True, f"{len(models)} models can be asked for.")


async def show_welcome(gateway: Gateway, exchange: Exchange) -> None:
    welcome = Welcome(
        name=NAME,
        version=VERSION,
        openapi="/openapi.json",
        models="/v1/models",
        contract="/.well-known/inference-engine.json",
    )
    await exchange.reply(200, msgspec.json.encode(welcome))
