"""Engines that already run: recognised by a cloud service, enrolled as providers."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from msgspec import UNSET, Struct

from bus.config import look_at, open_layers
from bus.connection import Bus
from bus.errors import BusError, NobodyThere
from bus.keys import away
from bus.providers import add_provider
from proto.config import ProviderConfig
from proto.enrolment import Recognise, Recognised
from proto.errors import Code, MeshError
from proto.subjects import RECOGNISE

RECOGNISE_S = 60.0
"""Every make is asked for, and a machine that is not there is waited for."""


class Enrolled(Struct, frozen=True, kw_only=True):
    name: str
    """Its models are served as ``name:id``."""
    engine: Recognised
    is_new: bool
    """False: it was enrolled already, and all is as before."""


async def recognise(bus: Bus, url: str, key: str | None) -> Recognised:
    """Raises MeshError."""
    try:
        asked = Recognise(url=url, key=key or "")
        return await bus.ask(RECOGNISE, asked, timeout_s=RECOGNISE_S)
    except NobodyThere as error:
        raise MeshError(
            Code.NO_ENGINE, "No cloud service is heard; `odyssai up` starts one."
        ) from error
    except BusError as error:
        raise away(error) from error


async def enrol(
    bus: Bus, engine: Recognised, name: str | None, requests: int | None, key: str | None, by: str
) -> Enrolled:
    """Once for each address, however often it is asked for. Raises MeshError."""
    try:
        known = (await look_at(await open_layers(bus))).effective.providers or {}
    except BusError as error:
        raise away(error) from error
    there = {entry.url: each for each, entry in known.items() if entry is not None}
    before = there.get(engine.url)
    if before is not None and name in (None, before):
        return Enrolled(name=before, engine=engine, is_new=False)
    if before is not None:
        raise MeshError(
            Code.CONFLICT,
            f"{engine.url} is enrolled as {before!r}; `odyssai unenroll {before}` first.",
            param="name",
        )
    chosen = name or free_name(engine, known)
    settings = ProviderConfig(kind=engine.kind, url=engine.url, requests=requests or UNSET)
    await add_provider(bus, chosen, settings, key, by)
    return Enrolled(name=chosen, engine=engine, is_new=True)


def free_name(engine: Recognised, taken: Collection[str]) -> str:
    """Its make, or its make and machine where that is taken, or a number after those."""
    host = re.sub(r"[^a-z0-9]+", "-", (urlsplit(engine.url).hostname or "").lower()).strip("-")
    make = "other" if engine.kind == "openai-compatible" else engine.kind
    first, second = make, f"{make}-{host}"[:28].strip("-")
    numbered = (f"{second}-{n}" for n in range(2, 1000))
    return next(name for name in (first, second, *numbered) if name not in taken)
