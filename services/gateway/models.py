"""GET /v1/models in both dialects. What is listed can be asked for now."""

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct

from bus.fleet import Fleet, card_of
from proto.presence import EngineBeat, ModelCard
from services.gateway.exchange import Exchange
from services.gateway.gateway import VERSION, Gateway
from services.gateway.placing import unknown


class XOdyssai(Struct, frozen=True, kw_only=True):
    """What OpenAI's shape has no place for."""

    ready: bool = True
    loaded: bool = True
    loading: bool = False
    kind: Literal["llm"] = "llm"
    backend: Literal["mlx", "http-proxy"]
    nodes: list[str]
    engines: list[str]
    """Those that serve it, each with a copy of its own."""
    context_length: int
    max_output_tokens: int
    family: str
    quantization: str
    size_bytes: int
    modalities: list[Literal["text"]]
    supports_streaming: bool = True
    supports_tools: bool = False
    supports_vision: bool = False
    supports_json_mode: bool = False
    admin_loadable: bool = False
    alias_for: str | None = None
    upstream: str | None = None


class ModelEntry(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str
    x_odyssai: XOdyssai


class ModelList(Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ModelEntry]


class ModelInfo(Struct, frozen=True, kw_only=True, tag_field="type", tag="model"):
    """A model as Anthropic's clients know it."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int
    max_tokens: int


class ModelPage(Struct, frozen=True, kw_only=True):
    """Always the only page."""

    data: list[ModelInfo]
    has_more: bool = False
    first_id: str | None
    last_id: str | None


async def show_models(gateway: Gateway, exchange: Exchange) -> None:
    """All of them, or the one that the rest of the path names. Raises MeshError without it."""
    wanted = exchange.path.removeprefix("/v1/models").strip("/")
    listed = entries(gateway.fleet)
    is_anthropic = b"anthropic-version" in exchange.headers
    if not wanted:
        page: Struct = _page(listed) if is_anthropic else ModelList(data=listed)
        return await exchange.reply(200, msgspec.json.encode(page))
    entry = next((entry for entry in listed if entry.id == wanted), None)
    if entry is None:
        raise unknown(wanted, gateway.fleet)
    shown: Struct = _info(entry) if is_anthropic else entry
    return await exchange.reply(200, msgspec.json.encode(shown))


def entries(fleet: Fleet) -> list[ModelEntry]:
    """Every model under its id and under each alias, in the order of the names."""
    serving = fleet.serving()
    listed: dict[str, ModelEntry] = {}
    for card in fleet.models():
        engines = [beat for beat in serving if card_of(beat, card.id) is not None]
        for name in (card.id, *card.aliases):
            listed.setdefault(name, _entry(name, card, engines))
    return [listed[name] for name in sorted(listed)]


def _entry(name: str, card: ModelCard, engines: list[EngineBeat]) -> ModelEntry:
    upstream = next((beat.upstream for beat in engines if beat.upstream), None)
    return ModelEntry(
        id=name,
        created=card.created_s,
        owned_by=card.owner,
        root=card.id,
        x_odyssai=XOdyssai(
            backend="http-proxy" if upstream else "mlx",
            nodes=sorted({beat.node for beat in engines}),
            engines=[beat.engine for beat in engines],
            context_length=card.context_length,
            max_output_tokens=card.context_length,
            family=card.family,
            quantization=card.quantization,
            size_bytes=card.size_bytes,
            modalities=["text"],
            alias_for=None if name == card.id else card.id,
            upstream=upstream,
        ),
    )


def _info(entry: ModelEntry) -> ModelInfo:
    made = datetime.fromtimestamp(entry.created, UTC)
    return ModelInfo(
        id=entry.id,
        display_name=entry.id,
        created_at=made.isoformat().replace("+00:00", "Z"),
        max_input_tokens=entry.x_odyssai.context_length,
        max_tokens=entry.x_odyssai.max_output_tokens,
    )


def _page(listed: list[ModelEntry]) -> ModelPage:
    infos = [_info(entry) for entry in listed]
    first, last = (infos[0].id, infos[-1].id) if infos else (None, None)
    return ModelPage(data=infos, first_id=first, last_id=last)


def fingerprint(fleet: Fleet, model: str) -> str:
    """Stays the same as long as the same model is served by the same version of this software."""
    card = next((card_of(beat, model) for beat in fleet.holders(model)), None)
    known = (card.id, card.quantization, card.size_bytes, card.created_s) if card else (model,)
    return "fp_" + blake2b(repr((VERSION, known)).encode(), digest_size=5).hexdigest()
