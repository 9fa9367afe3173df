"""A provider is asked for its models with each of its keys, and what is wrong is told."""

import asyncio
import time

from proto.errors import Code, MeshError
from proto.presence import ModelCard
from proto.provider import KeyCheck, ProviderCheck, hint_of
from services.cloud.calling.caller import Caller
from services.cloud.line import Line
from services.cloud.providers.access import is_listed
from services.cloud.providers.clients import client_of, with_key
from services.cloud.settings import Upstream

PATIENCE_S = 10.0
REFUSED = "refuses its key"
"""What is said of a key that the upstream does not know."""


async def check(upstream: Upstream) -> ProviderCheck:
    began = time.monotonic()
    keys: list[KeyCheck] = []
    told: tuple[ModelCard, ...] = ()
    problems: list[str] = []
    for key in upstream.keys or (None,):
        cards, problem = await _asked(with_key(upstream, key))
        told = told or cards
        problems += [problem] if problem else []
        keys += [KeyCheck(hint=hint_of(key), problem=problem)] if key else []
    works = len(problems) < max(len(upstream.keys), 1)
    return ProviderCheck(
        provider=upstream.name,
        url=upstream.url,
        told=len(told),
        served=sum(is_listed(upstream, card.id) for card in told),
        took_s=time.monotonic() - began,
        problem=upstream.locked if works else _with_remedy(problems[0], upstream),
        keys=tuple(keys),
    )


async def _asked(upstream: Upstream) -> tuple[tuple[ModelCard, ...], str]:
    line = Line(client_of(upstream), upstream.keys)
    try:
        async with asyncio.timeout(PATIENCE_S), line.held() as client:
            told = await client.catalog()
            await _prove(upstream)
            return told, ""
    except TimeoutError:
        return (), f"{upstream.url} told no models within {PATIENCE_S:g} s."
    except MeshError as error:
        return (), error.message
    finally:
        await line.close()


async def _prove(upstream: Upstream) -> None:
    """OpenRouter's catalog is for everybody: whether it knows a key, it says elsewhere.

    https://openrouter.ai/docs/api-reference/get-current-key. Raises MeshError.
    """
    if upstream.kind != "openrouter" or not upstream.keys:
        return
    shown = {"authorization": f"Bearer {upstream.keys[0]}"}
    caller = Caller(upstream.name, upstream.url, {}, [shown], upstream.patience)
    try:
        await caller.get("/key")
    finally:
        await caller.close()


def _with_remedy(problem: str, upstream: Upstream) -> str:
    name = upstream.name
    if upstream.locked:
        return upstream.locked
    if not upstream.keys:
        return f"{problem} It has no key here; `odyssai provider key add {name}` gives it one."
    if REFUSED in problem:
        return f"{problem} `odyssai provider key rotate {name}` puts another in its place."
    return problem


def unknown(name: str) -> MeshError:
    return MeshError(
        Code.NOT_FOUND,
        f"The cloud service stands for no provider {name!r}; `odyssai provider list` lists them.",
        param="name",
    )
