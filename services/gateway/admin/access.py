"""Who may administer the mesh over HTTP. The decision; it reads nothing by itself."""

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from msgspec import Struct

from proto.errors import Code, MeshError
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.loopback import is_loopback, is_loopback_name

Endpoint = Callable[[Gateway, Exchange], Awaitable[None]]

CHALLENGE = (b"www-authenticate", b"Bearer")
RELAYED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
"""Said by proxies, whose own address is not that of who asks."""


class Caller(Struct, frozen=True, kw_only=True):
    """What a request shows of who sent it."""

    peer: str
    """The address at the other end of the socket; empty: not known."""
    host: str
    """As the client was told to call us; with a port or without."""
    origin: str | None = None
    """Of the web page that asks, if one does."""
    site: str | None = None
    """How that page and we are related, in the browser's words (``Sec-Fetch-Site``)."""
    authorization: str = ""
    is_relayed: bool = False


def guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint for those who may, a refusal for all others."""

    async def serve(gateway: Gateway, exchange: Exchange) -> None:
        expect_admin(gateway, exchange)
        await endpoint(gateway, exchange)

    return serve


def expect_admin(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError unless the client may administer the mesh."""
    try:
        admit(_caller(exchange), gateway.settings.admin_token)
    except MeshError as error:
        if error.code is Code.UNAUTHORIZED:
            exchange.standing.append(CHALLENGE)
        raise


def admit(caller: Caller, token: str) -> None:
    """Without a ``token`` whoever is on this machine may, else whoever shows it.

    A foreign web page never may, not even on this machine: its Origin gives it away, or, where its
    name was made to lead here, the Host. Raises MeshError.
    """
    if _is_foreign(caller):
        raise _forbidden("A web page of another origin may not administer the mesh.")
    if token:
        _expect_token(caller.authorization, token)
    else:
        _expect_local(caller)


def _caller(exchange: Exchange) -> Caller:
    return Caller(
        peer=exchange.peer,
        host=exchange.header(b"host") or "",
        origin=exchange.header(b"origin"),
        site=exchange.header(b"sec-fetch-site"),
        authorization=exchange.header(b"authorization") or "",
        is_relayed=any(name in exchange.headers for name in RELAYED),
    )


def _is_foreign(caller: Caller) -> bool:
    if caller.site in ("cross-site", "same-site"):
        return True
    return caller.origin is not None and urlsplit(caller.origin).netloc != caller.host.lower()


def _expect_token(authorization: str, token: str) -> None:
    scheme, _, shown = authorization.partition(" ")
    is_right = hmac.compare_digest(shown.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise MeshError(
            Code.UNAUTHORIZED,
            "The mesh is administered with the gateway's ODYSSAI_ADMIN_TOKEN; send it as "
            "`Authorization: Bearer TOKEN`.",
        )


def _expect_local(caller: Caller) -> None:
    if not is_loopback(caller.peer) or caller.is_relayed:
        raise _forbidden(
            "Without ODYSSAI_ADMIN_TOKEN the mesh is administered from the gateway's own machine "
            "only. Set it there, and send it as `Authorization: Bearer TOKEN`."
        )
    if not _calls_us_local(caller.host):
        raise _forbidden(
            f"The mesh is not administered under the name {caller.host!r}; use localhost or "
            "127.0.0.1, or set ODYSSAI_ADMIN_TOKEN and send it as `Authorization: Bearer TOKEN`."
        )


def _calls_us_local(host: str) -> bool:
    try:
        return is_loopback_name(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _forbidden(why: str) -> MeshError:
    return MeshError(Code.FORBIDDEN, why)
