"""What a key must be allowed for each address: one table, and whatever is not in it takes admin."""

from typing import Literal

from proto.config import Scope
from services.gateway.http.exchange import Exchange

Need = Scope | Literal["nothing"]

NEEDS: dict[str, Need] = {
    # Whether the process lives and speaks, and how it is spoken to. Strangers hear no more.
    "/": "nothing",
    "/health": "nothing",
    "/ready": "nothing",
    "/.well-known/inference-engine.json": "nothing",
    "/openapi.json": "nothing",
    "/schema": "nothing",
    "/api/version": "nothing",
    # It judges itself: a key that may ask models sees its own, one that administers sees all.
    "/v1/usage": "nothing",
    "/v1/models": "models",
    "/api/tags": "models",
    "/api/show": "models",
    "/api/ps": "telemetry",
    "/v1/chat/completions": "inference",
    "/v1/completions": "inference",
    "/v1/embeddings": "inference",
    "/v1/rerank": "inference",
    "/v1/messages": "inference",
    "/v1/messages/count_tokens": "inference",
    "/v1/responses": "inference",
    "/v1/tokenize": "inference",
    "/v1/detokenize": "inference",
    "/api/chat": "inference",
    "/api/generate": "inference",
    "/api/embed": "inference",
    "/api/embeddings": "inference",
    # Of a model that is served already; to fetch one takes admin.
    "/api/pull": "models",
    # They are refused whoever asks.
    "/api/push": "models",
    "/api/create": "models",
    "/api/copy": "models",
    "/api/delete": "admin",
    "/admin": "admin",
}
LOOKS = ("status", "models", "nodes", "plan", "jobs", "config")
"""What there is to see below /admin for those who may look."""


def need_of(route: str) -> Need:
    """Of a route as it is written where it is served."""
    return NEEDS.get(route, "admin")


def need_below_admin(exchange: Exchange) -> Need:
    shown = exchange.path.split("/")[2:3]
    looks = exchange.method in ("GET", "HEAD") and shown and shown[0] in LOOKS
    return "telemetry" if looks else "admin"
