"""Every route and the one way to answer when something goes wrong."""

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from litestar import Litestar, Response, asgi
from litestar.exceptions import HTTPException

from proto.dialects import anthropic, openai
from proto.errors import Code, MeshError
from services.gateway.anthropic import Messages
from services.gateway.contract import show_contract
from services.gateway.count import count_tokens
from services.gateway.exchange import JSON, ClientLeft, Exchange, Headers
from services.gateway.gateway import Gateway
from services.gateway.generate import generate
from services.gateway.health import show_health, show_readiness, show_welcome
from services.gateway.models import show_models
from services.gateway.openai import ChatCompletions, Completions
from services.gateway.openapi import show_openapi

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any, Any], Awaitable[None]]
Endpoint = Callable[[Gateway, Exchange], Awaitable[None]]

POSTS: dict[str, Endpoint] = {
    "/v1/chat/completions": partial(generate, ChatCompletions()),
    "/v1/completions": partial(generate, Completions()),
    "/v1/messages": partial(generate, Messages()),
    "/v1/messages/count_tokens": count_tokens,
}
GETS: dict[str, Endpoint] = {
    "/": show_welcome,
    "/health": show_health,
    "/ready": show_readiness,
    "/.well-known/inference-engine.json": show_contract,
    "/openapi.json": show_openapi,
}
MOUNTS: dict[str, Endpoint] = {
    # With whatever follows: litestar 2.25 finds no bare handler by a path parameter.
    "/v1/models": show_models,
}
ABSENT = {
    "/v1/messages/batches": "send each message of a batch to /v1/messages, many at a time",
    "/v1/files": "no files are kept; put their text, or pictures as base64, into the messages",
}
"""What the vendors have and a mesh has not, and what to do instead."""
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"*, authorization"),
    (b"access-control-max-age", b"86400"),
]


def application(gateway: Gateway) -> Litestar:
    """Handlers are bare ASGI: Litestar's own responses cost three times as much a token."""
    read, write = ("GET", "HEAD"), ("POST",)
    routes = [asgi(path, copy_scope=False)(_on(write, gateway, POSTS[path])) for path in POSTS]
    routes += [asgi(path, copy_scope=False)(_on(read, gateway, GETS[path])) for path in GETS]
    routes += [
        asgi(path, copy_scope=False, is_mount=True)(_on(read, gateway, MOUNTS[path]))
        for path in MOUNTS
    ]
    return Litestar(
        routes,
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _not_routed},
    )


def _on(methods: tuple[str, ...], gateway: Gateway, endpoint: Endpoint) -> Handler:
    """An endpoint that takes these methods, and tells about them."""
    allow = ", ".join((*methods, "OPTIONS")).encode()

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        if exchange.method in methods:
            return await answer(gateway, exchange, endpoint)
        if exchange.method == "OPTIONS":
            return await exchange.reply(204, b"", [(b"allow", allow), *PREFLIGHT])
        error = MeshError(
            Code.METHOD_NOT_ALLOWED, f"{exchange.path} takes {methods[0]}, not {exchange.method}."
        )
        return await _refuse(exchange, error, [(b"allow", allow)])

    return handle


async def answer(gateway: Gateway, exchange: Exchange, endpoint: Endpoint) -> None:
    """Serve one request; whatever goes wrong is said in the dialect of its path."""
    gateway.open.add(exchange)
    try:
        await endpoint(gateway, exchange)
    except ClientLeft:
        log.debug("%s: the client left", exchange.id)
    except MeshError as error:
        await _refuse(exchange, error)
    except Exception:
        log.exception("%s: %s failed", exchange.id, exchange.path)
        why = f"The gateway failed; its log has more under {exchange.id}."
        await _refuse(exchange, MeshError(Code.INTERNAL, why))
    finally:
        gateway.open.discard(exchange)
        gateway.served += 1


async def _refuse(exchange: Exchange, error: MeshError, headers: Headers | None = None) -> None:
    """Say why not, with a status or, where a response has begun, as its end."""
    if exchange.is_started:
        if exchange.last_words is not None and not exchange.is_complete:
            await exchange.write(exchange.last_words(error), more=False)
        return
    said = [JSON, *(headers or [])]
    if error.retry_after_s is not None:
        said.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    await exchange.reply(error.code.status, envelope(exchange, error), said)


def envelope(exchange: Exchange, error: MeshError) -> bytes:
    """An error in the dialect that the path belongs to, or that the client shows it speaks."""
    if exchange.path.startswith("/v1/messages") or b"anthropic-version" in exchange.headers:
        return anthropic.envelope(error, exchange.id)
    return openai.envelope(error)


def _absent(path: str) -> str:
    for prefix, instead in ABSENT.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return f"{path} is not served here: {instead}."
    return f"There is nothing at {path}; GET /openapi.json lists what there is."


def _not_routed(request: Any, error: HTTPException) -> Response[bytes]:
    exchange = Exchange(request.scope, request.receive, request.send)
    code, why = Code.INVALID_REQUEST, error.detail
    if error.status_code == 404:
        code = Code.NOT_FOUND
        why = _absent(exchange.path)
    return Response(
        envelope(exchange, MeshError(code, why)),
        status_code=code.status,
        media_type="application/json",
        headers={"x-request-id": exchange.id, "request-id": exchange.id},
    )
