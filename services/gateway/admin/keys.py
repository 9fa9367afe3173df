"""/admin/keys: the API keys there are, made and revoked."""

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from bus.keys import create_key, list_keys, revoke_key, unknown_key
from proto.config import KeyConfig
from proto.dialects.asked import invalid
from proto.keys import KeyView
from services.gateway.admin.carrying import read
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import JSON, Exchange


class NewKey(KeyConfig, frozen=True, kw_only=True):
    """Make a key: what it is called, and what it may."""

    name: str

    def settings(self) -> KeyConfig:
        told = {field.name: getattr(self, field.name) for field in fields(KeyConfig)}
        return KeyConfig(**told)


class KeyViews(Struct, frozen=True):
    keys: list[KeyView]
    """By name."""


class CreatedKey(Struct, frozen=True):
    key: str
    """To be sent as ``Authorization: Bearer`` or ``x-api-key``. It is told here and never again."""
    about: KeyView


class RevokedKey(Struct, frozen=True):
    revoked: str


_BODY = msgspec.json.Decoder(NewKey)


async def show_keys(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/keys. Raises MeshError."""
    keys = await list_keys(gateway.mesh.bus)
    await exchange.reply(200, msgspec.json.encode(KeyViews(keys)))


async def show_key(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/keys/{name}. Raises MeshError."""
    for key in await list_keys(gateway.mesh.bus):
        if key.name == name:
            return await exchange.reply(200, msgspec.json.encode(key))
    raise unknown_key(name)


async def make_key(gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/keys. Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _BODY)
    if asked.sha256 is not UNSET:
        raise invalid("`sha256`: the mesh makes the key itself; leave it out.", "sha256")
    by = gateway.entrance.actor(exchange)
    async with gateway.audit.act("key.create", by, asked.name, told(asked)):
        key, view = await create_key(gateway.mesh.bus, asked.name, asked.settings(), by.name)
    headers = [JSON, (b"cache-control", b"no-store")]
    await exchange.reply(201, msgspec.json.encode(CreatedKey(key.text, view)), headers)


async def revoke(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /admin/keys/{name}. Raises MeshError."""
    by = gateway.entrance.actor(exchange)
    async with gateway.audit.act("key.revoke", by, name):
        await revoke_key(gateway.mesh.bus, name, by.name)
    await exchange.reply(200, msgspec.json.encode(RevokedKey(name)))


def told(settings: KeyConfig) -> str:
    """What is written down of a key: all that it may, which is no secret."""
    return msgspec.json.encode(settings).decode()
