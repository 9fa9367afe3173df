"""Telling a home's running bus server that its settings have changed."""

import json
import logging

import nats.errors

from bus.dialing import dial
from bus.embedded import Access, EmbeddedError
from bus.errors import NotConnected
from proto.credentials import HOME

ANSWER_S = 5.0
CONNECT_S = 3.0

log = logging.getLogger(__name__)


class NotReloaded(EmbeddedError):
    """The server goes on with the settings that it had."""


async def reload(access: Access) -> None:
    """Return when the server lives by its new settings. Who is no member any more is cut off.

    Of several, one that is away reads them when it starts. Raises NotReloaded, NotConnected.
    """
    told, away = 0, NotConnected("no bus server answers")
    for address in access.addresses:
        try:
            await _reload(access.url("sys", HOME, address))
            told += 1
        except NotConnected as error:
            away = error
            log.warning("the bus server at %s was not told of new settings: %s", address, error)
    if not told:
        raise away


async def _reload(url: str) -> None:
    client = await dial(url, "ops:reload", lambda: None, within_s=CONNECT_S)
    try:
        subject = f"$SYS.REQ.SERVER.{client._server_info['server_id']}.RELOAD"
        mail = await client.request(subject, b"", timeout=ANSWER_S)
        problem = json.loads(mail.data).get("error")
    except (nats.errors.Error, ValueError) as error:
        raise NotReloaded(f"the bus server did not reload: {error}") from error
    finally:
        await client.close()
    if problem:
        raise NotReloaded(f"the bus server refused its settings: {problem['description']}")
