"""One upstream that speaks OpenAI's chat completions and completions, as a stream of pieces.

Protocol: https://platform.openai.com/docs/api-reference/chat and /completions, streamed
as server-sent events.
"""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec

from proto.errors import Code, MeshError
from proto.frames import PositionLogprobs, TokenLogprob, Usage
from proto.inference import Chat, FinishReason, Generate, Sampling, Text, Tokens
from services.cloud.settings import Upstream

CONNECT_S = 10.0
SILENCE_S = 300.0
"""Reasoning models think long before they say anything."""


class Piece(msgspec.Struct, frozen=True):
    """What one event of the upstream added."""

    text: str = ""
    logprobs: tuple[PositionLogprobs, ...] = ()
    reason: FinishReason | None = None
    usage: Usage | None = None


class OpenAIUpstream:
    def __init__(self, upstream: Upstream) -> None:
        headers = {"authorization": f"Bearer {upstream.key}"} if upstream.key else {}
        self._name = upstream.name
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
        path, body = _body(request, request.model.partition(":")[2])
        try:
            async with self._http.stream("POST", path, json=body) as answer:
                if answer.status_code >= 400:
                    raise _refusal(self._name, answer.status_code, await answer.aread(), answer)
                async for piece in _pieces(self._name, answer):
                    yield piece
        except httpx.HTTPError as error:
            raise MeshError(
                Code.UPSTREAM,
                f"The upstream {self._name!r} could not be reached or broke off: "
                f"{error or type(error).__name__}.",
            ) from error


def _body(request: Generate, model: str) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling),
    }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    match request.prompt:
        case Chat(turns=turns):
            if request.logprobs is not None:
                body |= {"logprobs": True, "top_logprobs": request.logprobs}
            body["messages"] = [{"role": t.role, "content": t.text} for t in turns]
            return "/chat/completions", body
        case Text(text=text):
            _refuse_logprobs(request)
            return "/completions", body | {"prompt": text}
        case Tokens(ids=ids):
            _refuse_logprobs(request)
            return "/completions", body | {"prompt": list(ids)}


def _refuse_logprobs(request: Generate) -> None:
    if request.logprobs is not None:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            "This upstream reports logprobs on /v1/chat/completions only.",
            param="logprobs",
        )


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """What differs from the canonical default, under the names that OpenAI's servers use."""
    plain = Sampling()
    said = {
        name: getattr(sampling, name)
        for name in sampling.__struct_fields__
        if getattr(sampling, name) != getattr(plain, name)
    }
    if "logit_bias" in said:
        said["logit_bias"] = {str(token): bias for token, bias in said["logit_bias"].items()}
    return said


def _refusal(name: str, status: int, body: bytes, answer: httpx.Response) -> MeshError:
    try:
        error = msgspec.json.decode(body)["error"]
        message, param = str(error.get("message", error)), error.get("param")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, param = body.decode(errors="replace")[:500], None
    said = f"The upstream {name!r} answered {status}: {message}"
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
            event = msgspec.json.decode(data)
            if "error" in event:
                raise MeshError(Code.UPSTREAM, f"The upstream {name!r} failed: {event['error']}")
            piece = _piece(event)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise MeshError(
                Code.UPSTREAM, f"The upstream {name!r} sent an event that cannot be read: {error}"
            ) from error
        is_done = is_done or piece.reason is not None
        yield piece
    if not is_done:
        raise MeshError(Code.UPSTREAM, f"The upstream {name!r} broke off in the middle.")


def _piece(event: dict[str, Any]) -> Piece:
    usage = event.get("usage")
    counted = usage and Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )
    if not event.get("choices"):
        return Piece(usage=counted or None)
    choice = event["choices"][0]
    delta = choice.get("delta") or choice
    reason = choice.get("finish_reason")
    return Piece(
        text=delta.get("content") or delta.get("text") or "",
        logprobs=_logprobs(choice.get("logprobs")),
        reason=("length" if reason == "length" else "stop") if reason else None,
        usage=counted or None,
    )


def _logprobs(said: dict[str, Any] | None) -> tuple[PositionLogprobs, ...]:
    def one(entry: dict[str, Any]) -> TokenLogprob:
        piece = bytes(entry["bytes"]) if entry.get("bytes") else entry["token"].encode()
        return TokenLogprob(-1, piece, entry["logprob"])

    return tuple(
        PositionLogprobs(one(entry), tuple(one(top) for top in entry.get("top_logprobs") or ()))
        for entry in (said or {}).get("content") or ()
    )
