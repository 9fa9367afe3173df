"""One upstream that speaks OpenAI's chat completions and completions, as a stream of pieces.

Protocol: https://platform.openai.com/docs/api-reference/chat and /completions, streamed
as server-sent events.
"""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec

from proto.errors import Code, MeshError
from proto.inference import Generate
from services.cloud.openai_body import body
from services.cloud.openai_pieces import Piece, piece, read
from services.cloud.settings import Upstream

CONNECT_S = 10.0
SILENCE_S = 300.0
"""Reasoning models think long before they say anything."""


class OpenAIUpstream:
    def __init__(self, upstream: Upstream) -> None:
        headers = {"authorization": f"Bearer {upstream.key}"} if upstream.key else {}
        self._name = upstream.name
        # OpenAI's newer models refuse the older name, other servers may not know the newer one.
        is_openai = upstream.url.startswith("https://api.openai.com/")
        self._limit = "max_completion_tokens" if is_openai else "max_tokens"
        self._http = httpx.AsyncClient(
            base_url=upstream.url,
            headers=headers,
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=32),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def catalog(self) -> list[dict[str, Any]]:
        """The upstream's own model entries. Raises httpx.HTTPError."""
        answer = await self._http.get("/models", timeout=CONNECT_S)
        answer.raise_for_status()
        entries: list[dict[str, Any]] = answer.json()["data"]
        return entries

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Raises MeshError when the upstream refuses, fails, or breaks off."""
        path, asked = body(request, request.model.partition(":")[2], self._limit)
        try:
            async with self._http.stream("POST", path, json=asked) as answer:
                if answer.status_code >= 300:
                    raise _refusal(self._name, answer.status_code, await answer.aread(), answer)
                async for made in _pieces(self._name, answer):
                    yield made
        except httpx.HTTPError as error:
            raise _broken(self._name, error) from error

    async def ask(self, path: str, asked: dict[str, Any]) -> Any:
        """The JSON that one question is answered with. Raises MeshError."""
        try:
            answer = await self._http.post(path, json=asked)
        except httpx.HTTPError as error:
            raise _broken(self._name, error) from error
        if answer.status_code >= 300:
            raise _refusal(self._name, answer.status_code, answer.content, answer)
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise unreadable(self._name, error) from error


def unreadable(name: str, error: Exception) -> MeshError:
    return MeshError(
        Code.UPSTREAM, f"The upstream {name!r} sent an answer that cannot be read: {error}"
    )


def _broken(name: str, error: httpx.HTTPError) -> MeshError:
    return MeshError(
        Code.UPSTREAM,
        f"The upstream {name!r} could not be reached or broke off: "
        f"{error or type(error).__name__}.",
    )


def _refusal(name: str, status: int, body: bytes, answer: httpx.Response) -> MeshError:
    try:
        error = msgspec.json.decode(body)["error"]
        message, param = str(error.get("message", error)), error.get("param")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, param = body.decode(errors="replace")[:500], None
    said = f"The upstream {name!r} answered {status}: {message}"
    if status < 400:
        # Its key, and what is asked, are for that address and no other.
        where = answer.headers.get("location", "elsewhere")
        said = f"The upstream {name!r} leads to {where}, where nobody goes: name its last address."
    match status:
        case 429:
            after = answer.headers.get("retry-after", "")
            wait = float(after) if after.replace(".", "", 1).isdigit() else 1.0
            return MeshError(Code.QUEUE_FULL, said, retry_after_s=wait)
        case 404:
            return MeshError(Code.MODEL_NOT_FOUND, said, param="model")
        case 400 | 413 | 422:
            return MeshError(Code.INVALID_REQUEST, said, param=param)
        case 401 | 403:
            return MeshError(
                Code.UPSTREAM, f"The upstream {name!r} refuses its key; the operator must renew it."
            )
        case _:
            return MeshError(Code.UPSTREAM, said)


async def _pieces(name: str, answer: httpx.Response) -> AsyncGenerator[Piece, None]:
    is_done = False
    async for line in answer.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        try:
            event = read(data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise MeshError(
                Code.UPSTREAM, f"The upstream {name!r} sent an event that cannot be read: {error}"
            ) from error
        if event.error is not None:
            raise MeshError(Code.UPSTREAM, f"The upstream {name!r} failed: {event.error}")
        made = piece(event)
        is_done = is_done or made.reason is not None
        yield made
    if not is_done:
        raise MeshError(Code.UPSTREAM, f"The upstream {name!r} broke off in the middle.")
