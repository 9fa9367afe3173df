"""HTTP to one upstream: its connections, its keys, and how often and how long it is tried."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from proto.errors import MeshError
from services.cloud.calling.breaker import Breaker
from services.cloud.calling.credentials import REFUSED, Credentials
from services.cloud.calling.errand import Errand, errand
from services.cloud.calling.patience import USUAL, Patience
from services.cloud.calling.refusal import Broken, broken, refusal, unreadable
from services.cloud.calling.retrying import is_unheard, may_pass, pause_s, told_s

UNUSED_S = 60.0
"""How long an unused connection is kept."""
CONNECTIONS = 256
LINE_BYTES = 1 << 20
"""Most of one event's line."""
NONE: Mapping[str, str] = MappingProxyType({})
JSON = {"content-type": "application/json"}
STAYS = {"x-odyssai-local-only": "1"}
LOOK_S = 1.0
"""Between two looks whether an answer has begun."""


class Caller:
    """``name`` is the upstream's in messages; ``url`` is what every path is added to.

    ``credentials`` are headers, one set for each key there is.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        credentials: Sequence[Mapping[str, str]] = (),
        patience: Patience = USUAL,
    ) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self._url = url
        self._proxy = proxy_of(url)
        self._credentials = Credentials(credentials)
        self._patience = patience
        self._session = ClientSession(
            headers={"accept-encoding": "identity", **headers},
            connector=TCPConnector(limit=CONNECTIONS, keepalive_timeout=UNUSED_S),
            timeout=ClientTimeout(
                total=None, sock_connect=patience.connect_s, sock_read=patience.first_byte_s
            ),
            read_bufsize=LINE_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def opened(
        self,
        path: str,
        asked: bytes | None = None,
        headers: Mapping[str, str] = NONE,
        method: str = "GET",
    ) -> AsyncIterator[ClientResponse]:
        """An answer that has begun well: to a POST of the JSON ``asked``, or to ``method`` without
        a body. Raises MeshError, also for what goes wrong while it is read within.

        What fails before the answer is tried again, with another key where that is what was
        refused; what fails within is not, since somebody may have heard of it.
        """
        if asked is None:
            async with self._answered(method, path, None, headers) as answer:
                yield answer
            return
        with self._judged():
            async with self._answered("POST", path, asked, {**JSON, **headers}) as answer:
                self.breaker.begin()
                yield answer

    async def get(self, path: str) -> Any:
        """The JSON that is there. Raises MeshError."""
        return await self._whole(path, None)

    async def ask(self, path: str, asked: Any) -> Any:
        """The JSON that one question is answered with. Raises MeshError."""
        return await self._whole(path, msgspec.json.encode(asked))

    async def _whole(self, path: str, asked: bytes | None) -> Any:
        async with self.opened(path, asked) as answer:
            body = await answer.read()
            try:
                return msgspec.json.decode(body)
            except msgspec.DecodeError as error:
                raise unreadable(self.name, error) from error

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """What comes of one question is the breaker's business. Raises MeshError."""
        self.breaker.admit()
        try:
            yield
        except Broken as error:
            self.breaker.fail(error.message)
            raise
        except MeshError:
            # What it refuses, and what one of its models makes a mess of, it is well enough for.
            self.breaker.succeed()
            raise
        except BaseException:
            self.breaker.withdraw()
            raise
        self.breaker.succeed()

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, asked: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[ClientResponse]:
        run = errand()
        try:
            async with await self._begun(method, path, asked, headers, run) as answer:
                looking = self._look(answer)
                try:
                    yield answer
                finally:
                    looking.cancel()
                    run.received_bytes += answer.content.total_bytes
        except (ClientError, TimeoutError, ValueError) as error:
            raise broken(self.name, error) from error

    async def _begun(
        self, method: str, path: str, asked: bytes | None, headers: Mapping[str, str], run: Errand
    ) -> ClientResponse:
        """Raises MeshError, and what the connection does where it is not tried again."""
        failures = turned = 0
        while True:
            key = self._credentials.best()
            after_s: float | None = None
            try:
                answer = await self._request(
                    method,
                    path,
                    asked,
                    {**headers, **(STAYS if run.stays else {}), **self._credentials.of(key)},
                    run,
                )
            except ClientError as error:
                failure: Exception = error
                is_passing = is_unheard(error)
            else:
                if answer.status < 300:
                    return answer
                status, after_s = answer.status, told_s(answer.headers)
                failure = await self._refused(answer, run)
                is_passing = may_pass(status, answer.headers)
                if status in REFUSED and self._credentials.refuse(key, status, after_s):
                    turned += 1
                    if turned < len(self._credentials):
                        continue
            failures += 1
            left_s = run.expires_at - time.monotonic()
            pause = pause_s(failures, after_s, left_s, random.random()) if is_passing else None
            if pause is None:
                raise failure
            await asyncio.sleep(pause)

    async def _request(
        self, method: str, path: str, asked: bytes | None, headers: Mapping[str, str], run: Errand
    ) -> ClientResponse:
        run.calls += 1
        run.sent_bytes += len(asked or b"")
        return await self._session.request(
            method,
            self._url + path,
            data=asked,
            headers=headers,
            proxy=self._proxy,
            allow_redirects=False,
        )

    async def _refused(self, answer: ClientResponse, run: Errand) -> MeshError:
        async with answer:
            body = await answer.read()
        run.received_bytes += len(body)
        return refusal(self.name, answer.status, body, answer.headers, stays=run.stays)

    def _look(self, answer: ClientResponse) -> "_Look":
        return _Look(answer, self._patience.idle_s)


def proxy_of(url: str) -> str | None:
    """As the environment says. aiohttp's own way to it would read ~/.netrc for every request, in a
    thread, and show what stands there.
    """
    to = urlsplit(url)
    return None if proxy_bypass(to.hostname or "") else getproxies().get(to.scheme)


class _Look:
    """Waits for the first byte of an answer's body; from then on silence is short.

    A look now and then costs nothing of each event, which a clock of our own would.
    """

    def __init__(self, answer: ClientResponse, idle_s: float) -> None:
        self._answer = answer
        self._idle_s = idle_s
        self._every_s = min(LOOK_S, idle_s / 2)
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._every_s, self._look)

    def cancel(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        connection = self._answer.connection
        if connection is None or (protocol := connection.protocol) is None:
            return
        received = self._answer.content.total_bytes
        if not received:
            self._handle = self._loop.call_later(self._every_s, self._look)
            return
        protocol.read_timeout = self._idle_s
        if received < LINE_BYTES:
            # What may have stopped reading by itself, its client being slow, begins to count
            # when it reads again.
            protocol.start_timeout()
