"""GET /openapi.json: every endpoint, described by the very types that read and write it."""

from functools import cache
from itertools import combinations
from typing import Any

import msgspec
from msgspec import Struct

from proto.dialects import (
    anthropic,
    anthropic_answer,
    embeddings,
    ollama,
    ollama_answer,
    openai,
    openai_answer,
    rerank,
    tokens,
)
from proto.dialects.responses import request as asked
from proto.dialects.responses import response as answered
from proto.usage_view import BYS, MOST_DAYS, UsageView
from services.gateway.admin import description as admin
from services.gateway.contract import NAME, Contract
from services.gateway.gateway import Gateway
from services.gateway.health import Health, Readiness, Welcome
from services.gateway.http.exchange import Exchange
from services.gateway.idempotency.name import LONGEST
from services.gateway.keys.scopes import need_of
from services.gateway.models.models import ModelEntry, ModelList
from services.gateway.models.pages import ModelInfo, ModelPage
from services.gateway.ollama.embed import EmbedAnswer, EmbeddingsAnswer
from services.gateway.ollama.models import Running, Shown, Status, Tags, Version
from services.host import VERSION

REFUSALS = {
    400: "The request makes no sense, or asks for what cannot be honoured; the message names it.",
    404: "No such model, or nothing stored under a name that the request holds.",
    413: "The body or the prompt is too large.",
    415: "The body is compressed in a way that is not read here.",
    429: "Every engine of the model is full; Retry-After says when to ask again.",
    500: "A fault in the mesh.",
    502: "The engine was lost while it answered.",
    503: "No engine of the model is there now.",
    504: "Not done within X-Request-Timeout.",
}
TURNED_AWAY = {
    401: "The API key is missing, wrong, expired or revoked.",
    403: "This takes a key with another scope.",
}
KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
TYPES: list[type[Struct]] = [
    openai.ChatRequest,
    openai.CompletionRequest,
    openai.ErrorBody,
    openai_answer.ChatCompletion,
    openai_answer.TextCompletion,
    embeddings.EmbeddingsRequest,
    embeddings.EmbeddingsAnswer,
    rerank.RerankRequest,
    rerank.RerankAnswer,
    anthropic.MessagesRequest,
    anthropic.CountRequest,
    anthropic.TokenCount,
    anthropic.ErrorBody,
    anthropic_answer.Message,
    ollama.ChatRequest,
    ollama.GenerateRequest,
    ollama.EmbedRequest,
    ollama.EmbeddingsRequest,
    ollama.NamedModel,
    ollama.ErrorBody,
    ollama_answer.ChatAnswer,
    ollama_answer.GenerateAnswer,
    EmbedAnswer,
    EmbeddingsAnswer,
    Running,
    Shown,
    Status,
    Tags,
    Version,
    tokens.TokenizeRequest,
    tokens.Tokenization,
    tokens.DetokenizeRequest,
    tokens.Detokenization,
    asked.CreateRequest,
    asked.CountRequest,
    asked.CompactRequest,
    answered.Response,
    answered.TokenCount,
    answered.Compacted,
    answered.Deleted,
    answered.ItemPage,
    UsageView,
    ModelList,
    ModelPage,
    ModelEntry,
    ModelInfo,
    Health,
    Readiness,
    Contract,
    Welcome,
    *admin.TYPES,
]
MADE = ("push", "create", "copy")
REPEATABLE = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/messages",
    "/v1/responses",
    "/v1/responses/compact",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
)
"""What is answered once for one Idempotency-Key."""
STREAMED: dict[str, dict[str, Any]] = {
    "text/event-stream": {
        "description": "One event of many.",
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    },
    "application/x-ndjson": {"description": "JSON objects, one a line.", "type": "string"},
}
REFERENCE = "#/components/schemas/{name}"


async def show_openapi(gateway: Gateway, exchange: Exchange) -> None:
    await exchange.reply(200, encoded())


@cache
def encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    schemas = _Schemas()
    paths = {
        "/v1/chat/completions": _post(
            schemas, openai.ChatRequest, openai_answer.ChatCompletion, openai.ErrorBody, True
        ),
        "/v1/completions": _post(
            schemas, openai.CompletionRequest, openai_answer.TextCompletion, openai.ErrorBody, True
        ),
        "/v1/embeddings": _post(
            schemas,
            embeddings.EmbeddingsRequest,
            embeddings.EmbeddingsAnswer,
            openai.ErrorBody,
            False,
        ),
        "/v1/rerank": _post(
            schemas, rerank.RerankRequest, rerank.RerankAnswer, openai.ErrorBody, False
        ),
        "/v1/messages": _post(
            schemas,
            anthropic.MessagesRequest,
            anthropic_answer.Message,
            anthropic.ErrorBody,
            True,
        ),
        "/v1/messages/count_tokens": _post(
            schemas, anthropic.CountRequest, anthropic.TokenCount, anthropic.ErrorBody, False
        ),
        **_responses(schemas),
        "/v1/usage": _get_usage(schemas),
        "/v1/models": _get_models(schemas),
        "/v1/models/{model}": _get_model(schemas),
        "/tokenize": _post(
            schemas, tokens.TokenizeRequest, tokens.Tokenization, openai.ErrorBody, False
        ),
        "/detokenize": _post(
            schemas, tokens.DetokenizeRequest, tokens.Detokenization, openai.ErrorBody, False
        ),
        **_ollama(schemas),
        **admin.paths(schemas),
        "/health": _get(schemas, "The process lives.", Health),
        "/ready": _get_readiness(schemas),
        "/.well-known/inference-engine.json": _get(schemas, "What this mesh can do.", Contract),
        "/openapi.json": _this_document(),
        "/schema": _this_document(),
        "/": _get(schemas, "Where everything is.", Welcome),
    }
    for path in REPEATABLE:
        _may_be_repeated(schemas, path, paths[path]["post"])
    _ask_for_keys(schemas, paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": VERSION},
        "security": [{}, *({scheme: []} for scheme in KEYS)],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": KEYS},
    }


def _ask_for_keys(schemas: "_Schemas", paths: dict[str, Any]) -> None:
    """What is said without a key that is good for it, where keys are asked for."""
    error = schemas.of(openai.ErrorBody, anthropic.ErrorBody, ollama.ErrorBody)
    for path, operations in paths.items():
        if need_of(path) == "nothing":
            continue
        for operation in operations.values():
            for status, why in TURNED_AWAY.items():
                operation["responses"].setdefault(str(status), _json(why, error))


class _Schemas:
    """References to the types of both dialects, which have some names in common."""

    def __init__(self) -> None:
        schemas, self.components = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
        self._references = dict(zip(TYPES, schemas, strict=True))

    def of(self, *types: type[Struct]) -> dict[str, Any]:
        references = [self._references[type_] for type_ in types]
        return references[0] if len(references) == 1 else {"anyOf": references}


def _post(
    schemas: _Schemas,
    request: type[Struct],
    answer: type[Struct],
    error: type[Struct],
    streams: bool,
    stream_type: str = "text/event-stream",
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schemas.of(answer)}}
    if streams:
        content[stream_type] = {"schema": STREAMED[stream_type]}
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    for status, why in REFUSALS.items():
        responses[str(status)] = _json(why, schemas.of(error))
    responses["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return {
        "post": {
            "summary": (request.__doc__ or "").strip(),
            "parameters": _HEADERS if streams else [],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schemas.of(request)}},
            },
            "responses": responses,
        }
    }


def _may_be_repeated(schemas: _Schemas, path: str, post: dict[str, Any]) -> None:
    post["parameters"] = [*post.get("parameters", ()), _IDEMPOTENCY_KEY]
    error = anthropic if path == "/v1/messages" else ollama if path.startswith("/api/") else openai
    why = "The Idempotency-Key was used for another request."
    post["responses"]["422"] = _json(why, schemas.of(error.ErrorBody))


def _get(schemas: _Schemas, summary: str, *answers: type[Struct]) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "responses": {"200": _json("What was asked for.", schemas.of(*answers))},
        }
    }


def _ollama(schemas: _Schemas) -> dict[str, Any]:
    def post(request: type[Struct], answer: type[Struct], streams: bool = False) -> dict[str, Any]:
        return _post(schemas, request, answer, ollama.ErrorBody, streams, "application/x-ndjson")

    refused = _json("Models are not made here.", schemas.of(ollama.ErrorBody))
    return {
        "/api/chat": post(ollama.ChatRequest, ollama_answer.ChatAnswer, True),
        "/api/generate": post(ollama.GenerateRequest, ollama_answer.GenerateAnswer, True),
        "/api/embed": post(ollama.EmbedRequest, EmbedAnswer),
        "/api/embeddings": post(ollama.EmbeddingsRequest, EmbeddingsAnswer),
        "/api/show": post(ollama.NamedModel, Shown),
        "/api/pull": _managed(schemas, post(ollama.NamedModel, Status, True)),
        "/api/tags": _get(schemas, "Every model under every name.", Tags),
        "/api/ps": _get(schemas, "The models that engines hold.", Running),
        "/api/version": _get(schemas, "Which release's API is spoken.", Version),
        **{f"/api/{verb}": {"post": {"responses": {"400": refused}}} for verb in MADE},
        "/api/delete": {
            "delete": _managed(schemas, post(ollama.NamedModel, Status))["post"],
        },
    }


def _managed(schemas: _Schemas, path: dict[str, Any]) -> dict[str, Any]:
    """What changes the mesh is for those who may."""
    for status, why in admin.REFUSALS.items():
        path["post"]["responses"].setdefault(str(status), _json(why, schemas.of(ollama.ErrorBody)))
    return path


def _get_usage(schemas: _Schemas) -> dict[str, Any]:
    described = _get(schemas, "What was used, and what it cost.", UsageView)
    error = schemas.of(openai.ErrorBody, anthropic.ErrorBody)
    refusals = {400: "A parameter makes no sense.", 503: "The state is away.", **TURNED_AWAY}
    described["get"]["responses"] |= {
        str(status): _json(why, error) for status, why in refusals.items()
    }
    described["get"]["parameters"] = [
        _query("days", {"type": "integer", "minimum": 1, "maximum": MOST_DAYS}, "30 by default."),
        _query("from", {"type": "string", "format": "date"}, "The first day, in UTC."),
        _query("to", {"type": "string", "format": "date"}, "The last day; today by default."),
        _query("by", {"type": "string", "enum": _parted()}, "What is told apart, with commas."),
        _query("key", {"type": "string"}, "Of one key only; others' take the scope admin."),
        _query("model", {"type": "string"}, "Of one model only."),
    ]
    return described


def _parted() -> list[str]:
    """All that may be told apart: each, and some together in their order."""
    several = (combinations(BYS, count) for count in range(1, len(BYS) + 1))
    return [",".join(each) for some in several for each in some]


def _get_models(schemas: _Schemas) -> dict[str, Any]:
    described = _get(schemas, "The models that can be asked for now.", ModelList, ModelPage)
    described["get"]["responses"]["400"] = _json(
        "A parameter makes no sense.", schemas.of(openai.ErrorBody, anthropic.ErrorBody)
    )
    described["get"]["parameters"] = [
        _INCLUDE_UNLOADED,
        *(
            {"name": name, "in": "query", "description": what, "schema": schema}
            for name, what, schema in _PAGING
        ),
    ]
    return described


def _responses(schemas: _Schemas) -> dict[str, Any]:
    """The Responses API, which keeps what it answers."""
    root, error = "/v1/responses", openai.ErrorBody
    return {
        root: _post(schemas, asked.CreateRequest, answered.Response, error, True),
        f"{root}/input_tokens": _post(
            schemas, asked.CountRequest, answered.TokenCount, error, False
        ),
        f"{root}/compact": _post(schemas, asked.CompactRequest, answered.Compacted, error, False),
        f"{root}/{{response_id}}": {
            "get": _of_stored(
                schemas,
                "A stored response, or what it tells as a stream.",
                answered.Response,
                _query("stream", {"type": "boolean"}, "Its events, those to come as well."),
                _query("starting_after", {"type": "integer", "minimum": 0}, "The last one known."),
            ),
            "delete": _of_stored(schemas, "Forget a stored response.", answered.Deleted),
        },
        f"{root}/{{response_id}}/cancel": {
            "post": _of_stored(
                schemas, "Stop generating a response in the background.", answered.Response
            ),
        },
        f"{root}/{{response_id}}/input_items": {
            "get": _of_stored(
                schemas,
                "The conversation that a stored response answers.",
                answered.ItemPage,
                _query("limit", {"type": "integer", "minimum": 0, "maximum": 100}, "Of a page."),
                _query("order", {"enum": ["asc", "desc"]}, "By age; the latest first by default."),
                _query("after", {"type": "string"}, "The id of the last item of the page before."),
            ),
        },
    }


def _of_stored(
    schemas: _Schemas, summary: str, answer: type[Struct], *queries: dict[str, Any]
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schemas.of(answer)}}
    if any(query["name"] == "stream" for query in queries):
        content["text/event-stream"] = {"schema": {"type": "string"}}
    refusals = {400: "It makes no sense.", 404: "It is not stored.", 503: "The state is away."}
    id = {
        "name": "response_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^resp_[a-z0-9]{1,40}$"},
    }
    return {
        "summary": summary,
        "parameters": [id, *queries],
        "responses": {"200": {"description": "What was asked for.", "content": content}}
        | {str(code): _json(why, schemas.of(openai.ErrorBody)) for code, why in refusals.items()},
    }


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _get_model(schemas: _Schemas) -> dict[str, Any]:
    described = _get(schemas, "One model.", ModelEntry, ModelInfo)
    described["get"]["responses"]["404"] = _json(
        "No such model.", schemas.of(openai.ErrorBody, anthropic.ErrorBody)
    )
    described["get"]["parameters"] = [
        _INCLUDE_UNLOADED,
        {
            "name": "model",
            "in": "path",
            "required": True,
            "description": "Its id, which may hold slashes.",
            "schema": {"type": "string", "minLength": 1},
        },
    ]
    return described


def _get_readiness(schemas: _Schemas) -> dict[str, Any]:
    described = _get(schemas, "Whether requests can be served.", Readiness)
    described["get"]["responses"]["503"] = _json("Not now.", schemas.of(Readiness))
    return described


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _this_document() -> dict[str, Any]:
    told = _json("OpenAPI 3.1.", {"type": "object"})
    return {"get": {"summary": "This document.", "responses": {"200": told}}}


_INCLUDE_UNLOADED = {
    "name": "include_unloaded",
    "in": "query",
    "description": "Also models that are loading, or that an engine held when it was last heard.",
    "schema": {"type": "boolean"},
}
_PAGING: list[tuple[str, str, dict[str, Any]]] = [
    ("after_id", "Anthropic: models after this one.", {"type": "string"}),
    ("before_id", "Anthropic: models before this one.", {"type": "string"}),
    ("limit", "Anthropic: most models.", {"type": "integer", "minimum": 1, "maximum": 1000}),
]

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Asked again under the same key, the same request gets the same answer. "
    "Streams ignore it.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[ -~]*$"},
}
_HEADERS = [
    {
        "name": "X-Session-Id",
        "in": "header",
        "description": "The conversation whose cache is worth keeping; wins over the body.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds after which nobody waits for the answer any more.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
    },
]
