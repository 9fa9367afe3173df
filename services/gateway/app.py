"""Every route and the one way to answer when something goes wrong."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from litestar import Litestar, Response, asgi
from litestar.exceptions import HTTPException

from proto.dialects import anthropic, ollama, openai
from proto.errors import Code, MeshError
from services.gateway.admin import routes as admin
from services.gateway.anthropic import Messages
from services.gateway.contract import show_contract
from services.gateway.count import count_tokens
from services.gateway.gateway import Endpoint, Gateway
from services.gateway.generate import generate
from services.gateway.health import show_health, show_readiness, show_welcome
from services.gateway.http.connection import HANG_UP
from services.gateway.http.exchange import JSON, ClientLeft, ClientStalled, Exchange, Headers
from services.gateway.keys.scopes import Need, need_below_admin, need_of
from services.gateway.models.models import show_models
from services.gateway.ollama.embed import embed, embed_one
from services.gateway.ollama.models import (
    refuse_to_make,
    show,
    show_running,
    show_tags,
    show_version,
)
from services.gateway.ollama.running import chat, complete
from services.gateway.ollama.store import delete, pull
from services.gateway.openai import ChatCompletions, Completions
from services.gateway.openapi import show_openapi
from services.gateway.repeatable import repeatable
from services.gateway.responses import routes as responses
from services.gateway.tokenize import detokenize, tokenize
from services.gateway.usage import show_usage
from services.gateway.vectors.embeddings import embed_texts
from services.gateway.vectors.rerank import rerank

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any, Any], Awaitable[None]]

POSTS: dict[str, Endpoint] = {
    "/v1/chat/completions": repeatable(partial(generate, ChatCompletions())),
    "/v1/completions": repeatable(partial(generate, Completions())),
    "/v1/embeddings": repeatable(embed_texts),
    "/v1/rerank": repeatable(rerank),
    "/v1/messages": repeatable(partial(generate, Messages())),
    "/v1/messages/count_tokens": count_tokens,
    "/v1/tokenize": tokenize,
    "/v1/detokenize": detokenize,
    "/api/chat": repeatable(chat),
    "/api/generate": repeatable(complete),
    "/api/embed": repeatable(embed),
    "/api/embeddings": repeatable(embed_one),
    "/api/show": show,
    "/api/pull": pull,
    "/api/push": refuse_to_make,
    "/api/create": refuse_to_make,
    "/api/copy": refuse_to_make,
}
GETS: dict[str, Endpoint] = {
    "/": show_welcome,
    "/health": show_health,
    "/ready": show_readiness,
    "/.well-known/inference-engine.json": show_contract,
    "/openapi.json": show_openapi,
    "/schema": show_openapi,
    "/api/tags": show_tags,
    "/api/ps": show_running,
    "/api/version": show_version,
    "/v1/usage": show_usage,
}
DELETES: dict[str, Endpoint] = {
    "/api/delete": delete,
}
MOUNTS: dict[str, Endpoint] = {
    # With whatever follows: litestar 2.25 finds no bare handler by a path parameter.
    "/v1/models": show_models,
}
TREES: dict[str, Callable[[str], Mapping[str, Endpoint]]] = {
    # Several endpoints below one path, for the same reason.
    responses.ROOT: responses.endpoints,
    admin.ROOT: admin.endpoints,
}
V1 = "/v1"
"""May be left out: some clients want an address with it, others add it themselves."""
ABSENT = {
    "/v1/chat/completions": "chat completions are not kept; /v1/responses keeps what it answers",
    "/v1/messages/batches": "send each message of a batch to /v1/messages, many at a time",
    "/v1/files": "no files are kept; put their text, or pictures as base64, into the messages",
}
"""What the vendors have and a mesh has not, and what to do instead."""


def application(gateway: Gateway) -> Litestar:
    """Handlers are bare ASGI: Litestar's own responses cost three times as much a token."""
    read, write, remove = ("GET", "HEAD"), ("POST",), ("DELETE",)
    tables = [(read, GETS, False), (write, POSTS, False), (remove, DELETES, False)]
    tables.append((read, MOUNTS, True))
    routes = [
        asgi(short, copy_scope=False, is_mount=is_mount)(
            _on(methods, gateway, endpoint, path, path.removesuffix(short))
        )
        for methods, table, is_mount in tables
        for path, endpoint in table.items()
        for short in _spellings(path)
    ]
    routes += [
        asgi(short, copy_scope=False, is_mount=True)(
            _below(gateway, find, path, path.removesuffix(short))
        )
        for path, find in TREES.items()
        for short in _spellings(path)
    ]
    return Litestar(
        routes,
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: partial(_not_routed, gateway)},
    )


def _spellings(path: str) -> tuple[str, ...]:
    return (path, path.removeprefix(V1)) if path.startswith(V1) else (path,)


def _on(
    methods: tuple[str, ...], gateway: Gateway, endpoint: Endpoint, route: str, left_out: str
) -> Handler:
    """An endpoint that takes these methods, and tells about them."""
    need = need_of(route)

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        exchange = _exchange(gateway, scope, receive, send)
        exchange.path = left_out + exchange.path
        await _serve(gateway, exchange, dict.fromkeys(methods, endpoint), need)

    return handle


def _below(
    gateway: Gateway, find: Callable[[str], Mapping[str, Endpoint]], route: str, left_out: str
) -> Handler:
    """The endpoints that ``find`` tells by their whole path."""
    need = need_of(route)

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        exchange = _exchange(gateway, scope, receive, send)
        exchange.path = left_out + exchange.path
        endpoints = find(exchange.path)
        if not endpoints:
            return await refuse(exchange, _nothing_there(exchange))
        if need == "admin":
            return await _serve(gateway, exchange, endpoints, need_below_admin(exchange))
        return await _serve(gateway, exchange, endpoints, need)

    return handle


def _exchange(gateway: Gateway, scope: Any, receive: Any, send: Any) -> Exchange:
    exchange = Exchange(scope, receive, send)
    exchange.patience_s = gateway.settings.bounds.patience_s
    if not admin.is_below(exchange.path):
        exchange.standing = gateway.settings.cors.headers(exchange.header(b"origin"))
    return exchange


async def _serve(
    gateway: Gateway, exchange: Exchange, endpoints: Mapping[str, Endpoint], need: Need
) -> None:
    endpoint = endpoints.get(exchange.method)
    if endpoint is not None:
        return await answer(gateway, exchange, endpoint, need)
    allow = ", ".join((*endpoints, "OPTIONS")).encode()
    if exchange.method == "OPTIONS":
        return await exchange.reply(204, b"", [(b"allow", allow), *_told(gateway, exchange, allow)])
    return await refuse(exchange, _wrong_method(exchange, endpoints), [(b"allow", allow)])


def _told(gateway: Gateway, exchange: Exchange, methods: bytes) -> Headers:
    """What a page in a browser may send; no page administers the mesh from elsewhere."""
    if admin.is_below(exchange.path):
        return []
    wanted = exchange.header(b"access-control-request-headers")
    return gateway.settings.cors.preflight(methods, wanted)


def _wrong_method(exchange: Exchange, endpoints: Mapping[str, Endpoint]) -> MeshError:
    takes = " or ".join(method for method in endpoints if method != "HEAD")
    why = f"{exchange.path} takes {takes}, not {exchange.method}."
    if exchange.path.startswith("/v1/models"):
        why += " /admin/models loads and removes models."
    return MeshError(Code.METHOD_NOT_ALLOWED, why)


def _nothing_there(exchange: Exchange) -> MeshError:
    why = f"There is nothing at {exchange.path}; GET /openapi.json lists what there is."
    for path, instead in ABSENT.items():
        if exchange.path == path or exchange.path.startswith(f"{path}/"):
            why = f"{exchange.path} is not served here: {instead}."
    return MeshError(Code.NOT_FOUND, why)


async def answer(gateway: Gateway, exchange: Exchange, endpoint: Endpoint, need: Need) -> None:
    """Serve one request; whatever goes wrong is said in the dialect of its path."""
    gateway.open.add(exchange)
    try:
        with gateway.entrance.let_in(exchange, need):
            await endpoint(gateway, exchange)
    except ClientStalled:
        log.info("%s: cut, as its client took nothing", exchange.id)
    except ClientLeft:
        log.debug("%s: the client left", exchange.id)
    except MeshError as error:
        await refuse(exchange, error)
    except Exception:
        log.exception("%s: %s failed", exchange.id, exchange.path)
        why = f"The gateway failed; its log has more under {exchange.id}."
        await refuse(exchange, MeshError(Code.INTERNAL, why))
    finally:
        gateway.open.discard(exchange)
        gateway.served += 1


async def refuse(exchange: Exchange, error: MeshError, headers: Headers | None = None) -> None:
    """Say why not, with a status or, where a response has begun, as its end."""
    if exchange.is_started:
        if exchange.last_words is not None and not exchange.is_complete:
            await exchange.write(exchange.last_words(error), more=False)
        return
    said = [JSON, *(headers or [])]
    if error.code is Code.BUDGET_SPENT:
        # Both vendors' SDKs would ask again all the same.
        said.append((b"x-should-retry", b"false"))
    if error.code is Code.SLOW_CLIENT:
        said.append(HANG_UP)
    if error.retry_after_s is not None:
        said.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    await exchange.reply(error.code.status, envelope(exchange, error), said)


def envelope(exchange: Exchange, error: MeshError) -> bytes:
    """An error in the dialect that the path belongs to, or that the client shows it speaks."""
    if exchange.speaks_anthropic:
        return anthropic.envelope(error, exchange.id)
    if exchange.path.startswith("/api/"):
        return ollama.envelope(error)
    return openai.envelope(error)


def _not_routed(gateway: Gateway, request: Any, error: HTTPException) -> Response[bytes]:
    exchange = _exchange(gateway, request.scope, request.receive, request.send)
    refused = MeshError(Code.INVALID_REQUEST, error.detail)
    if error.status_code == 404:
        refused = _nothing_there(exchange)
    said = [*exchange.signature(), *exchange.standing]
    return Response(
        envelope(exchange, refused),
        status_code=refused.code.status,
        media_type="application/json",
        headers={name.decode(): value.decode() for name, value in said},
    )
