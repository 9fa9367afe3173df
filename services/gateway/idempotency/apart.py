"""A request served apart from its client: nobody can leave it, and what is said is kept."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from proto.errors import Code, MeshError
from proto.ids import RequestId
from proto.kept import Answer
from services.gateway.http.exchange import Exchange

AGAIN = frozenset((b"content-type", b"x-odyssai-engine", b"x-odyssai-ignored", b"x-odyssai-route"))
"""Headers that are said with a kept answer; others are of the moment."""
UNCODED = frozenset((b"accept-encoding", b"content-encoding"))


class Apart(Exchange):
    """What an endpoint is given in its client's place."""

    def __init__(self, exchange: Exchange, body: bytes, known_as: RequestId | None) -> None:
        """``known_as`` is what engines know it by already, where it goes on for another gateway."""
        headers = [(name, value) for name, value in exchange.headers.items() if name not in UNCODED]
        super().__init__({**exchange.scope, "headers": headers}, self._never, self._keep)
        self.id = exchange.id
        self.path = exchange.path
        self.known_as = known_as or exchange.id
        self._body = body
        self._status = 0
        self._said: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []

    def answer(self) -> Answer:
        """Raises MeshError when it is none to be kept."""
        if self._status != 200 or not self.is_complete:
            raise MeshError(Code.INTERNAL, f"The answer broke off, with status {self._status}.")
        said = ((n.decode(), v.decode("latin-1")) for n, v in self._said if n in AGAIN)
        return Answer(headers=tuple(said), body=b"".join(self._parts))

    async def _never(self) -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nobody leaves")

    async def _keep(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status, self._said = message["status"], message["headers"]
        else:
            self._parts.append(message.get("body", b""))
