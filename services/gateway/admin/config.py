"""/admin/config: what is in effect and why, and the layer that is changed over HTTP."""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from bus.config import change_layer, look_at, open_layers
from bus.errors import BusError
from proto.config import Config, ConfigLayer, ModelConfig
from proto.dialects.asked import invalid
from proto.effective import idle_ttl_s, loads_on_demand, merged
from proto.errors import Code, MeshError
from proto.ids import ModelId
from services.gateway.admin.carrying import read
from services.gateway.exchange import Exchange
from services.gateway.gateway import Gateway
from services.gateway.query import Query

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
    await _change(gateway, exchange, lambda _: told)


async def change_config(gateway: Gateway, exchange: Exchange) -> None:
    """The body is laid over the layer; its nulls take back what the file says.

    Raises MeshError, ClientLeft.
    """
    told = await read(gateway, exchange, _DECODER)
    await _change(gateway, exchange, lambda before: merged(before, told))


async def forget_config(gateway: Gateway, exchange: Exchange) -> None:
    """The settings that ``?setting=`` names, or all: the file's count again. Raises MeshError."""
    paths = _paths(exchange.query)
    await _change(gateway, exchange, lambda before: _without(before, paths))


async def _change(gateway: Gateway, exchange: Exchange, change: Callable[[Config], Config]) -> None:
    def changed(layer: ConfigLayer) -> ConfigLayer:
        origin = f"gateway {gateway.id}"
        return ConfigLayer(config=change(layer.config), origin=origin, at_s=time.time())

    try:
        layers = await open_layers(gateway.mesh.bus)
        await change_layer(layers, "admin", changed)
    except BusError as error:
        raise _away(error) from error
    await _reply(gateway, exchange)


async def _reply(gateway: Gateway, exchange: Exchange) -> None:
    try:
        view = await look_at(await open_layers(gateway.mesh.bus))
    except BusError as error:
        raise _away(error) from error
    await exchange.reply(200, msgspec.json.encode(view))


def _paths(query: Query) -> list[tuple[str, ...]]:
    """``models/org/name/context``: a section, a name that may hold slashes and dots, a setting."""
    return [_path(said) for said in query.get("setting", [])]


def _path(said: str) -> tuple[str, ...]:
    section, _, rest = said.partition("/")
    if section not in Config.__struct_fields__:
        known = ", ".join(Config.__struct_fields__)
        raise invalid(f"There is no setting {section!r}; there are {known}.", "setting")
    return (section, rest) if rest else (section,)


def _without(config: Config, paths: list[tuple[str, ...]]) -> Config:
    if not paths:
        return Config()
    plain = msgspec.to_builtins(config)
    for path in paths:
        _drop(plain, path)
    return msgspec.convert(plain, Config)


def _drop(plain: dict[str, dict[str, dict[str, object]]], path: tuple[str, ...]) -> None:
    section, *rest = path
    if not rest:
        plain.pop(section, None)
        return
    entries = plain.get(section) or {}
    name, _, setting = rest[0].rpartition("/")
    if rest[0] in entries:
        del entries[rest[0]]
    elif name in entries:
        entries[name].pop(setting, None)


def _away(error: BusError) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE,
        f"The mesh's state cannot be reached: {error}. Try again.",
        retry_after_s=1.0,
    )
