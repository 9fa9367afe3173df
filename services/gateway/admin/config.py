"""/admin/config: what is in effect and why, and the layer that is changed over HTTP."""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from bus.config import change_layer, look_at, open_layers
from bus.errors import BusError
from bus.keys import away
from proto.config import Config, ConfigLayer, ModelConfig
from proto.dialects.asked import invalid
from proto.effective import idle_ttl_s, loads_on_demand, merged
from proto.ids import ModelId
from proto.keys import without_hashes
from proto.setting_path import NoSuchSetting, Path, names_of, path_of, without
from services.gateway.admin.carrying import read
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import Query

_DECODER = msgspec.json.Decoder(Config)


class ModelSettings(Struct, frozen=True, kw_only=True):
    """What the configuration comes to for one model."""

    name: str
    """As it was asked for."""
    model: ModelId
    """What the name stands for."""
    settings: ModelConfig
    on_demand: bool
    idle_ttl_s: float | None


async def show_config(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError."""
    await _reply(gateway, exchange)


async def show_model_settings(name: str, gateway: Gateway, exchange: Exchange) -> None:
    config, model = gateway.config.effective, gateway.target(name)
    settings = gateway.model_config(model, name)
    shown = ModelSettings(
        name=name,
        model=model,
        settings=settings,
        on_demand=loads_on_demand(config, settings),
        idle_ttl_s=idle_ttl_s(config, settings),
    )
    await exchange.reply(200, msgspec.json.encode(shown))


async def replace_config(gateway: Gateway, exchange: Exchange) -> None:
    """The body is the whole layer. Raises MeshError, ClientLeft."""
    told = await read(gateway, exchange, _DECODER)
    await _change(gateway, exchange, lambda _: told, "replace", names_of(told))


async def change_config(gateway: Gateway, exchange: Exchange) -> None:
    """The body is laid over the layer; its nulls take back what the file says.

    Raises MeshError, ClientLeft.
    """
    told = await read(gateway, exchange, _DECODER)
    await _change(gateway, exchange, lambda before: merged(before, told), "change", names_of(told))


async def forget_config(gateway: Gateway, exchange: Exchange) -> None:
    """The settings that ``?setting=`` names, or all: the file's count again. Raises MeshError."""
    paths = _paths(exchange.query)
    names = ["/".join(path) for path in paths] or ["all"]
    await _change(gateway, exchange, lambda before: _without(before, paths), "forget", names)


async def _change(
    gateway: Gateway,
    exchange: Exchange,
    change: Callable[[Config], Config],
    verb: str,
    settings: list[str],
) -> None:
    """``settings`` names those that are concerned, for the audit log: values may be secrets."""
    by = gateway.entrance.actor(exchange)
    async with gateway.audit.act(f"config.{verb}", by, detail=", ".join(settings)):
        await _write(gateway, change)
    await _reply(gateway, exchange)


async def _write(gateway: Gateway, change: Callable[[Config], Config]) -> None:
    def changed(layer: ConfigLayer) -> ConfigLayer:
        origin = f"gateway {gateway.id}"
        return ConfigLayer(config=change(layer.config), origin=origin, at_s=time.time())

    try:
        layers = await open_layers(gateway.mesh.bus)
        await change_layer(layers, "admin", changed)
    except BusError as error:
        raise away(error) from error


async def _reply(gateway: Gateway, exchange: Exchange) -> None:
    """Hashes of keys are for those who may change them."""
    try:
        view = await look_at(await open_layers(gateway.mesh.bus))
    except BusError as error:
        raise away(error) from error
    if "admin" not in gateway.entrance.caller(exchange).scopes:
        view = without_hashes(view)
    await exchange.reply(200, msgspec.json.encode(view))


def _paths(query: Query) -> list[Path]:
    try:
        return [path_of(said) for said in query.get("setting", [])]
    except NoSuchSetting as error:
        raise invalid(f"`setting`: {error}.", "setting") from error


def _without(config: Config, paths: list[Path]) -> Config:
    """All of it where no path says what."""
    if not paths:
        return Config()
    for path in paths:
        config = without(config, path)
    return config


def _named(told: Config) -> list[str]:
    """The settings that it says something of."""
    return names_of(told)
