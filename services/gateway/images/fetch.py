"""Pictures that a URL names, fetched without lending a client this machine's place in the network.

Whoever writes the URL decides where this process connects to, so names are resolved
here, every address is checked, and the connection goes to the address that was checked:
a name that points somewhere else a moment later gains nothing. TLS still proves the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from services.gateway.images.address import is_public
from services.gateway.images.data_url import Unusable, too_large
from services.gateway.images.limits import Limits

REDIRECTS = 3
SIDE_BY_SIDE = 16
"""Pictures that one gateway fetches at once: so many times the size limit is what it may hold."""
LONGEST_URL = 8192
_HEADERS = [
    ("accept", "image/png, image/jpeg, image/webp, image/gif"),
    ("accept-encoding", "identity"),
    ("user-agent", "odyssai-mesh"),
]
_PORTS = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Awaitable[list[str]]]


class NotPublic(Exception):
    """A name leads to nothing but addresses that clients may not reach through us."""


class Fetcher:
    def __init__(
        self, limits: Limits, resolve: Resolve | None = None, tls: SSLContext | None = None
    ) -> None:
        """``resolve`` gives the addresses of a host and port; by default the system's resolver."""
        self._limits = limits
        self._turns = asyncio.Semaphore(SIDE_BY_SIDE)
        self._http = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=SIDE_BY_SIDE,
            max_keepalive_connections=0,
            network_backend=_Pinned(limits, resolve or _resolve),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def fetch(self, url: str) -> bytes:
        """Raises Unusable."""
        if not self._limits.fetch_s:
            raise Unusable("this mesh fetches no URLs; send the picture as a data URL")
        async with self._turns:
            try:
                async with asyncio.timeout(self._limits.fetch_s):
                    return await self._follow(self._checked(url))
            except TimeoutError as late:
                raise Unusable(
                    f"it was not here within {self._limits.fetch_s:g} s; "
                    "name a faster server, or send the picture as a data URL"
                ) from late
            except NotPublic as private:
                raise Unusable(
                    f"{private} is no public host; send the picture as a data URL, "
                    "or have the operator list the host in ODYSSAI_IMAGE_HOSTS"
                ) from private
            except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
                raise Unusable(
                    f"it could not be fetched ({type(error).__name__}: {error}); "
                    "check the URL, or send the picture as a data URL"
                ) from error

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(REDIRECTS + 1):
            async with self._http.stream("GET", str(url), headers=_HEADERS) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    return await self._body(url.host, answer)
                url = self._checked(_header(answer, b"location") or "", url)
        raise Unusable(f"it is redirected more than {REDIRECTS} times; name its last address")

    def _checked(self, url: str, base: httpx.URL | None = None) -> httpx.URL:
        """What may be tried; where it leads to is checked when it is connected to."""
        try:
            found = httpx.URL(url[:LONGEST_URL])
            found = base.join(found) if base and url else found
        except (httpx.InvalidURL, ValueError) as wrong:
            raise Unusable(f"its URL cannot be read ({wrong}); correct it") from wrong
        if found.scheme not in _PORTS or not found.host:
            raise Unusable("its URL is neither https:// nor data:; send one of these")
        if found.userinfo:
            raise Unusable("its URL holds a user name; name a public URL instead")
        if len(url) > LONGEST_URL:
            raise Unusable(f"its URL has more than {LONGEST_URL} characters; use a shorter one")
        port = found.port or _PORTS[found.scheme]
        if self._limits.trusts(found.raw_host.decode(), port):
            return found
        if found.scheme != "https":
            raise Unusable("it is fetched over https only; change the URL, or send a data URL")
        if port != _PORTS["https"]:
            raise Unusable(f"port {port} is not allowed; serve it on 443, or send a data URL")
        return found

    async def _body(self, host: str, answer: httpcore.Response) -> bytes:
        limit = self._limits.image_bytes
        if answer.status != 200:
            raise Unusable(f"{host} answered {answer.status}; check the URL")
        kind = (_header(answer, b"content-type") or "image/*").partition(";")[0].strip().lower()
        if not kind.startswith("image/") and kind not in (
            "application/octet-stream",
            "binary/octet-stream",
        ):
            raise Unusable(f"{host} sent {kind[:40]}, no picture; name the picture's own URL")
        if (_header(answer, b"content-encoding") or "identity").lower() != "identity":
            raise Unusable(f"{host} sent it compressed although asked not to; use another server")
        declared = _header(answer, b"content-length") or ""
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        body = bytearray()
        async for piece in answer.aiter_stream():
            body += piece
            if len(body) > limit:
                raise too_large(limit)
        return bytes(body)


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, limits: Limits, resolve: Resolve) -> None:
        self._limits = limits
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own name for it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if not self._limits.trusts(host, port):
            addresses = [address for address in addresses if is_public(address)]
        failure: Exception = NotPublic(host)
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (UnicodeError, OverflowError) as unspeakable:
        raise OSError(f"no such host: {unspeakable}") from unspeakable
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _header(answer: httpcore.Response, name: bytes) -> str | None:
    return next((v.decode("latin-1") for k, v in answer.headers if k.lower() == name), None)
