"""The client of an upstream, which may be replaced while requests use it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proto.errors import MeshError
from services.cloud.client import Client
from services.cloud.redaction import take_keys_out


class Line:
    """Whoever began with a client ends with it; whoever comes later has the newest."""

    def __init__(self, client: Client, keys: tuple[str, ...] = ()) -> None:
        self._client = client
        self._keys = keys
        self._users: Counter[Client] = Counter()

    @property
    def client(self) -> Client:
        """The newest."""
        return self._client

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Client]:
        """What goes wrong within names no key. Raises MeshError."""
        client, keys = self._client, self._keys
        self._users[client] += 1
        try:
            yield client
        except MeshError as error:
            take_keys_out(error, keys)
            raise
        finally:
            self._users[client] -= 1
            if client is not self._client:
                await self._close_if_idle(client)

    async def replace(self, client: Client, keys: tuple[str, ...]) -> None:
        before, self._client, self._keys = self._client, client, keys
        await self._close_if_idle(before)

    async def close(self) -> None:
        """Nobody uses any of them any more."""
        await self._client.close()

    async def _close_if_idle(self, client: Client) -> None:
        if not self._users[client]:
            del self._users[client]
            await client.close()
