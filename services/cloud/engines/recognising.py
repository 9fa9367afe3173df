"""What runs at an address, asked for somebody who may enrol it."""

from urllib.parse import urlsplit

from proto.enrolment import Recognise, Recognised
from proto.errors import Code, MeshError
from services.cloud.engines.kinds import recognised
from services.cloud.engines.neighbour import root_of
from services.cloud.engines.probe import Probe
from services.cloud.openai.client import OpenAI
from services.cloud.settings import Upstream


async def recognise(asked: Recognise) -> Recognised:
    """Raises MeshError. One that only speaks OpenAI's protocol is recognised as that."""
    root = root_of(_address(asked.url))
    headers = {"authorization": f"Bearer {asked.key}"} if asked.key else {}
    probe = Probe(root, headers)
    try:
        kind, version = await recognised(probe)
        look = await kind.look(probe)
    except MeshError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return await _anything(root, asked.key)
    finally:
        await probe.close()
    return Recognised(
        kind=kind.word,
        title=kind.title,
        version=version,
        url=f"{root}/v1",
        models=look.cards,
        slots=look.slots,
    )


async def _anything(root: str, key: str) -> Recognised:
    url = f"{root}/v1"
    client = OpenAI(Upstream(name="enrolled", url=url, keys=(key,) if key else ()))
    try:
        models = await client.catalog()
    except MeshError as error:
        raise MeshError(
            Code.NOT_FOUND,
            f"Nothing at {root} is an engine that is known here, and it has no models at "
            f"/v1/models either: {error.message}",
            param="url",
        ) from error
    finally:
        await client.close()
    return Recognised(kind="openai-compatible", title="OpenAI-compatible", url=url, models=models)


def _address(url: str) -> str:
    """Raises MeshError, which does not tell a password."""
    said = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(said)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        is_address = has_port = False
    if not is_address or not has_port or parts.query or parts.fragment:
        raise MeshError(
            Code.INVALID_REQUEST,
            "That is no address of an engine: say http://host:port.",
            param="url",
        )
    if parts.username is not None or parts.password is not None:
        raise MeshError(
            Code.INVALID_REQUEST,
            "The address holds a name or password, which would stand in the configuration for all "
            "to read: leave it out, and give the engine's key by --key.",
            param="url",
        )
    return said
