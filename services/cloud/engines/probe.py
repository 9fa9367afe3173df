"""Questions to a server that may be anything: short, small, and at its own address alone."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from proto.errors import Code, MeshError

PATIENCE_S = 5.0
LOAD_S = 600.0
"""A large model comes from a slow disk."""
LARGEST = 4 << 20
"""Bytes of one answer; a catalog of a thousand models is a tenth of it."""
ABSENT = (400, 404, 405, 410, 501)
"""What servers say to paths and methods that they do not have."""


class Probe:
    """``root`` is the server's address, without ``/v1``. Redirects are not followed: the operator
    named an address, and its key is for no other.
    """

    def __init__(self, root: str, headers: Mapping[str, str]) -> None:
        self.root = root
        self._headers = headers
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def find(self, path: str) -> Any:
        """The JSON that is there; None where there is none. Raises MeshError when the server cannot
        be reached or wants another key.
        """
        status, body = await self._asked("GET", path, None, PATIENCE_S)
        if status in (401, 403):
            raise MeshError(
                Code.UPSTREAM, f"{self.root} answers {status}: it wants a key, or another one."
            )
        if status != 200:
            return None
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(body)
        return None

    async def tell(self, path: str, asked: Any, patience_s: float = PATIENCE_S) -> Any:
        """What is answered to an order, None if it is no JSON. Raises MeshError."""
        status, body = await self._asked("POST", path, msgspec.json.encode(asked), patience_s)
        if status >= 300:
            code = Code.UNSUPPORTED_PARAMETER if status in ABSENT else Code.UPSTREAM
            said = body[:300].decode(errors="replace").strip()
            raise MeshError(code, f"{self.root}{path} answered {status}: {said}")
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(body)
        return None

    async def _asked(
        self, method: str, path: str, asked: bytes | None, patience_s: float
    ) -> tuple[int, bytes]:
        headers = {} if asked is None else {"content-type": "application/json"}
        if self._session is None:
            self._session = ClientSession(headers=self._headers)
        try:
            async with self._session.request(
                method, self.root + path, data=asked, headers=headers, allow_redirects=False,
                timeout=ClientTimeout(total=patience_s),
            ) as answer:  # fmt: skip
                return answer.status, await _read(answer)
        except (ClientError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise MeshError(Code.UPSTREAM, f"{self.root} cannot be reached: {why}.") from error


async def _read(answer: ClientResponse) -> bytes:
    """Raises ValueError when it is larger than any answer to such a question."""
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise ValueError(f"its answer is larger than {LARGEST >> 20} MB")
    return b"".join(pieces)
