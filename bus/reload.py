"""Telling a home's running bus server that its settings have changed."""

import json

import nats.errors

from bus.dialing import dial
from bus.embedded import Access, EmbeddedError

ANSWER_S = 5.0


class NotReloaded(EmbeddedError):
    """The server goes on with the settings that it had."""


async def reload(access: Access) -> None:
    """Return when the server lives by its new settings. Who is no member any more is cut off.

    Raises NotReloaded, NotConnected.
    """
    client = await dial(access.url("sys"), "ops:reload", lambda: None)
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
