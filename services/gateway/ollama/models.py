"""What Ollama's clients ask about models: which there are, and what they can do."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct

from proto.dialects import ollama
from proto.errors import Code, MeshError
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_json
from services.gateway.http.exchange import Exchange
from services.gateway.models.models import ModelEntry, askable, entries, visible
from services.gateway.ollama.running import resolve
from services.host import VERSION

SPOKEN = "0.33.0"
"""The release of Ollama whose API is spoken here; clients ask for no less than they need."""
NEVER = "9999-12-31T23:59:59Z"

Capability = Literal["completion", "tools", "thinking", "vision", "embedding"]


class Details(Struct, frozen=True, kw_only=True):
    parent_model: str = ""
    format: Literal["safetensors", ""]
    family: str
    families: list[str]
    parameter_size: str = ""
    quantization_level: str


class TaggedModel(Struct, frozen=True, kw_only=True):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    """Names one state of a model's files; no sum of their bytes."""
    details: Details
    capabilities: list[Capability]


class Tags(Struct, frozen=True):
    models: list[TaggedModel]


class RunningModel(Struct, frozen=True, kw_only=True):
    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str = NEVER
    """Models stay as long as the mesh wants them."""
    size_vram: int
    context_length: int


class Running(Struct, frozen=True):
    models: list[RunningModel]


class Shown(Struct, frozen=True, kw_only=True):
    modelfile: str
    parameters: str = ""
    template: str = ""
    """The engine's own matter: clients send turns, not rendered prompts."""
    details: Details
    model_info: dict[str, Any]
    capabilities: list[Capability]
    modified_at: str


class Version(Struct, frozen=True):
    version: str
    odyssai: str


class Status(Struct, frozen=True):
    status: str


async def show_tags(gateway: Gateway, exchange: Exchange) -> None:
    """GET /api/tags: every model under every name, each with a tag."""
    tags = Tags([_tagged_model(entry) for entry in visible(gateway, exchange, askable(gateway))])
    await exchange.reply(200, msgspec.json.encode(tags))


async def show_running(gateway: Gateway, exchange: Exchange) -> None:
    """GET /api/ps: every model that engines of ours hold, once."""
    held = [
        entry
        for entry in visible(gateway, exchange, entries(gateway.fleet, gateway.config.effective))
        if entry.x_odyssai.upstream is None and entry.x_odyssai.alias_for is None
    ]
    await exchange.reply(200, msgspec.json.encode(Running([_running(entry) for entry in held])))


async def show_version(gateway: Gateway, exchange: Exchange) -> None:
    """GET /api/version."""
    await exchange.reply(200, msgspec.json.encode(Version(SPOKEN, VERSION)))


async def show(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/show. Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    name = ollama.named(body).wanted
    entry = entry_of(gateway, exchange, name)
    answer = Shown(
        modelfile=f"FROM {entry.root}\n",
        details=_details(entry),
        model_info=_info(entry, name),
        capabilities=_capabilities(entry),
        modified_at=_modified(entry),
    )
    await exchange.reply(200, msgspec.json.encode(answer))


async def refuse_to_make(gateway: Gateway, exchange: Exchange) -> None:
    """Whatever would make a model out of another, or send one away. Raises MeshError."""
    raise MeshError(
        Code.INVALID_REQUEST,
        "Models are neither made nor pushed in this dialect. POST /api/pull fetches one from the "
        "Hugging Face hub; GET /api/tags lists what there is.",
    )


def entry_of(gateway: Gateway, exchange: Exchange, name: str) -> ModelEntry:
    """Raises MeshError."""
    known = resolve(gateway, exchange, name)
    for entry in askable(gateway):
        if entry.id == known:
            return entry
    raise MeshError(
        Code.MODEL_NOT_FOUND,
        f"model '{name}' not found; GET /api/tags lists what there is",
        param="model",
    )


def tagged(name: str) -> str:
    """As this dialect writes names: with a tag, which is ``latest`` where there is none."""
    return name if ":" in name else f"{name}:latest"


def _tagged_model(entry: ModelEntry) -> TaggedModel:
    name = tagged(entry.id)
    return TaggedModel(
        name=name,
        model=name,
        modified_at=_modified(entry),
        size=entry.x_odyssai.size_bytes,
        digest=_digest(entry),
        details=_details(entry),
        capabilities=_capabilities(entry),
    )


def _running(entry: ModelEntry) -> RunningModel:
    name, known = tagged(entry.id), entry.x_odyssai
    return RunningModel(
        name=name,
        model=name,
        size=known.size_bytes,
        digest=_digest(entry),
        details=_details(entry),
        size_vram=known.size_bytes,
        context_length=known.context_length,
    )


def _details(entry: ModelEntry) -> Details:
    known = entry.x_odyssai
    return Details(
        format="" if known.upstream else "safetensors",
        family=known.family,
        families=[known.family] if known.family else [],
        quantization_level=known.quantization,
    )


def _capabilities(entry: ModelEntry) -> list[Capability]:
    known = entry.x_odyssai
    there: dict[Capability, bool] = {
        "completion": known.kind in ("llm", "vlm"),
        "tools": known.supports_tools,
        "thinking": known.supports_reasoning,
        "vision": known.supports_vision,
        "embedding": known.supports_embeddings,
    }
    return [name for name, is_there in there.items() if is_there]


def _info(entry: ModelEntry, name: str) -> dict[str, Any]:
    """Some clients take the context's length from here, and the name to show."""
    known = entry.x_odyssai
    family = known.family or "unknown"
    info: dict[str, Any] = {
        "general.architecture": family,
        "general.basename": name,
        f"{family}.context_length": known.context_length,
    }
    if known.embedding_size:
        info[f"{family}.embedding_length"] = known.embedding_size
    return info


def _modified(entry: ModelEntry) -> str:
    return datetime.fromtimestamp(entry.created, UTC).isoformat().replace("+00:00", "Z")


def _digest(entry: ModelEntry) -> str:
    state = (entry.root, entry.x_odyssai.quantization, entry.x_odyssai.size_bytes, entry.created)
    return sha256(repr(state).encode()).hexdigest()
