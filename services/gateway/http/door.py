"""The way into the gateway: what is wrong with a request before anybody looks at what it asks."""

from collections.abc import Awaitable, Callable
from typing import Any

from proto.errors import Code, MeshError
from services.gateway.http.connection import HANG_UP, SURPLUS
from services.gateway.http.exchange import Exchange, Headers, Receive, Scope, Send
from services.gateway.http.head import expect_sound
from services.gateway.http.hosts import Hosts

App = Callable[[Any, Any, Any], Awaitable[None]]
Refuse = Callable[[Exchange, MeshError, Headers], Awaitable[None]]


class Door:
    """The ASGI application in front of ``inside``."""

    def __init__(self, inside: App, hosts: Hosts, refuse: Refuse) -> None:
        self._inside = inside
        self._hosts = hosts
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _expect_room(scope)
            expect_sound(scope, self._hosts)
        except MeshError as error:
            # Nothing more is read from whom two servers might understand differently.
            said = [] if error.code is Code.MISDIRECTED else [HANG_UP]
            return await self._refuse(Exchange(scope, receive, send), error, said)
        return await self._inside(scope, receive, send)


def _expect_room(scope: Scope) -> None:
    """Raises MeshError."""
    if scope["state"].get(SURPLUS):
        raise MeshError(
            Code.TOO_MANY_CONNECTIONS,
            "This gateway has as many connections as it takes, in all or from your address; close "
            "those you do not need, or have the operator raise ODYSSAI_CONNECTIONS or "
            "ODYSSAI_CONNECTIONS_PER_ADDRESS.",
            retry_after_s=5.0,
        )
