"""POST /admin/enroll: an engine that already runs becomes a provider."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from bus.enrolment import Enrolled, enrol, recognise
from bus.providers import expect_key
from proto.config import ProviderKind
from proto.dialects.asked import NonEmpty
from services.gateway.admin.carrying import read
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange


class EnrollBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Serve what an engine has, as ``name:id``."""

    url: NonEmpty
    name: NonEmpty | None = None
    """Null: after its make."""
    key: NonEmpty | None = None
    """That it wants to see. It is kept sealed, and told nowhere again."""
    requests: Annotated[int, Meta(ge=1)] | None = None
    """Sent to it at once; null: as many as it says, at most 256."""


class EnrolledEngine(Struct, frozen=True, kw_only=True):
    name: str
    kind: ProviderKind
    title: str
    """Of its make, as its makers write it."""
    version: str
    url: str
    models: list[str]
    """As they are called here."""
    slots: int | None
    """Requests it takes side by side; null: it does not tell."""
    is_new: bool
    """False: it was enrolled already, and all is as before."""


_BODY = msgspec.json.Decoder(EnrollBody)


async def enroll(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _BODY)
    key = None if asked.key is None else asked.key.strip()
    if key is not None:
        expect_key(key)
    bus, by = gateway.mesh.bus, gateway.entrance.actor(exchange)
    async with exchange:
        engine = await recognise(bus, asked.url, key)
        async with gateway.audit.act("engine.enroll", by, asked.name or "", engine.url):
            enrolled = await enrol(bus, engine, asked.name, asked.requests, key, by.name)
        status = 201 if enrolled.is_new else 200
        await exchange.reply(status, msgspec.json.encode(_told(enrolled)))


def _told(enrolled: Enrolled) -> EnrolledEngine:
    engine = enrolled.engine
    return EnrolledEngine(
        name=enrolled.name,
        kind=engine.kind,
        title=engine.title,
        version=engine.version,
        url=engine.url,
        models=[f"{enrolled.name}:{card.id}" for card in engine.models],
        slots=engine.slots,
        is_new=enrolled.is_new,
    )
