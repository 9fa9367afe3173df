"""/admin/providers: cloud vendors and other servers, added, tested, taken away, and their keys.

A key is sealed here for the cloud services, and forgotten.
"""

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from bus.providers import (
    add_provider,
    check_provider,
    drop_key,
    expect_key,
    expect_key_name,
    keep_key,
    list_providers,
    remove_provider,
    unknown_provider,
)
from proto.config import ProviderConfig
from proto.provider import ProviderCheck, ProviderKeyView, ProviderView
from services.gateway.admin.carrying import read
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange


class NewProvider(ProviderConfig, frozen=True, kw_only=True):
    """Serve a provider's models as ``name:id``."""

    name: str
    key: str | None = None
    """Its main key, which is told nowhere again."""

    def settings(self) -> ProviderConfig:
        told = {field.name: getattr(self, field.name) for field in fields(ProviderConfig)}
        return ProviderConfig(**told)


class NewProviderKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give a provider a key, or put it in the place of the one of that name."""

    key: str


class ProviderViews(Struct, frozen=True):
    providers: list[ProviderView]
    """By name."""


class RemovedProvider(Struct, frozen=True):
    removed: str


_NEW = msgspec.json.Decoder(NewProvider)
_KEY = msgspec.json.Decoder(NewProviderKey)


async def show_providers(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/providers. Raises MeshError."""
    views = ProviderViews(await list_providers(gateway.mesh.bus))
    await exchange.reply(200, msgspec.json.encode(views))


async def show_provider(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/providers/{name}. Raises MeshError."""
    await exchange.reply(200, msgspec.json.encode(await _view(name, gateway)))


async def make_provider(gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/providers. Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _NEW)
    secret = None if asked.key is None else asked.key.strip()
    if secret is not None:
        expect_key(secret)
    by, settings = gateway.entrance.actor(exchange), asked.settings()
    plain = msgspec.json.encode(settings).decode()
    async with gateway.audit.act("provider.add", by, asked.name, plain):
        await add_provider(gateway.mesh.bus, asked.name, settings, secret, by.name)
    await exchange.reply(201, msgspec.json.encode(await _view(asked.name, gateway)))


async def remove(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /admin/providers/{name}. Raises MeshError."""
    by = gateway.entrance.actor(exchange)
    async with gateway.audit.act("provider.remove", by, name):
        await remove_provider(gateway.mesh.bus, name, by.name)
    await exchange.reply(200, msgspec.json.encode(RemovedProvider(name)))


async def test(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/providers/{name}/test. Raises MeshError."""
    checked: ProviderCheck = await check_provider(gateway.mesh.bus, name)
    await exchange.reply(200, msgspec.json.encode(checked))


async def put_key(name: str, key: str, gateway: Gateway, exchange: Exchange) -> None:
    """PUT /admin/providers/{name}/keys/{key}. Raises MeshError, ClientLeft."""
    expect_key_name(key)
    asked = await read(gateway, exchange, _KEY)
    by = gateway.entrance.actor(exchange)
    view = await _view(name, gateway)
    is_there = any(known.name == key and known.origin == "kept" for known in view.keys)
    act = "provider.key.rotate" if is_there else "provider.key.add"
    async with gateway.audit.act(act, by, f"{name}/{key}"):
        kept: ProviderKeyView = await keep_key(
            gateway.mesh.bus, name, key, asked.key.strip(), by.name
        )
    await exchange.reply(200, msgspec.json.encode(kept))


async def remove_key(name: str, key: str, gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /admin/providers/{name}/keys/{key}. Raises MeshError."""
    expect_key_name(key)
    by = gateway.entrance.actor(exchange)
    async with gateway.audit.act("provider.key.remove", by, f"{name}/{key}"):
        await drop_key(gateway.mesh.bus, name, key)
    await exchange.reply(200, msgspec.json.encode(RemovedProvider(f"{name}/{key}")))


async def _view(name: str, gateway: Gateway) -> ProviderView:
    """Raises MeshError."""
    for view in await list_providers(gateway.mesh.bus):
        if view.name == name:
            return view
    raise unknown_provider(name)
