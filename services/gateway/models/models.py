"""GET /v1/models in both dialects: every model under its id and under each alias."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bus.errors import BusError
from bus.fleet import Fleet, card_of, leaves
from bus.state import Bucket
from proto.config import Config
from proto.effective import target
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.presence import STALL_S, Drafting, EngineBeat, ModelCard, ModelKind
from proto.price import Price
from proto.state import ENGINES, EngineRecord
from proto.store import StoredModel
from services.gateway.asking.placing import unknown
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import flag
from services.gateway.models.pages import ModelInfo, ModelPage, info, page
from services.host import VERSION


class XOdyssai(Struct, frozen=True, kw_only=True):
    """What OpenAI's shape has no place for. What is not known of a model is zero or empty."""

    ready: bool = True
    """It answers now."""
    loaded: bool = True
    loading: bool = False
    kind: ModelKind = "llm"
    backend: Literal["mlx", "http-proxy"] = "mlx"
    nodes: list[str] = []
    engines: list[str] = []
    """Those that serve it, each with a copy of its own."""
    context_length: int = 0
    max_output_tokens: int = 0
    family: str = ""
    quantization: str = ""
    size_bytes: int = 0
    modalities: list[Literal["text", "image"]] = msgspec.field(default_factory=lambda: ["text"])
    """What it reads."""
    embedding_size: int = 0
    """Numbers in one of its vectors; 0 for models that make none."""
    supports_streaming: bool = False
    supports_tools: bool = False
    supports_vision: bool = False
    supports_json_mode: bool = False
    """Also schemas, regular expressions and grammars: they are enforced."""
    supports_reasoning: bool = False
    supports_embeddings: bool = False
    supports_rerank: bool = False
    estimated_tps: float = 0.0
    """Tokens a second of one answer, as measured of late on the fastest engine; 0: not yet."""
    warm: bool = False
    """It has answered since it was loaded."""
    kv_cache_q8: bool = False
    draft_model: str | None = None
    """Guesses ahead of its answers, on the engine where that fares best."""
    num_draft_tokens: int = 0
    """Guessed at a time; 0 while decoding plainly is faster there."""
    accept_rate: float = 0.0
    """Of late, the part of guesses that came true."""
    admin_loadable: bool = False
    """It is stored, and not loaded: a request for it, or an operator, loads it."""
    alias_for: str | None = None
    upstream: str | None = None
    leaves: bool = False
    """What it is asked leaves the local network."""
    hops: int = 0
    """Other meshes between this one and whoever runs it."""
    provider: str | None = None
    """Of one that is served elsewhere, as the operator calls it."""
    price: Price | None = None
    """US dollars per million tokens; null: it costs nothing, or nobody knows what."""
    supports_documents: bool = False
    """PDF files among its messages."""


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


async def show_models(gateway: Gateway, exchange: Exchange) -> None:
    """All of them, or the one that the rest of the path names. Raises MeshError without it."""
    wanted = exchange.path.removeprefix("/v1/models").strip("/")
    config = gateway.config.effective
    listed = askable(gateway) if wanted else entries(gateway.fleet, config)
    if flag(exchange.query, "include_unloaded"):
        listed = _sorted([*listed, *await _not_ready(gateway)])
    if wanted:
        gateway.model_for(exchange, wanted)
    told = visible(gateway, exchange, listed)
    answer = _one(told, wanted, exchange, gateway.fleet) if wanted else _all(told, exchange)
    await exchange.reply(200, msgspec.json.encode(answer))


def visible(gateway: Gateway, exchange: Exchange, listed: list[ModelEntry]) -> list[ModelEntry]:
    """Those that the client's key may use: it does not hear of others."""
    may_use = gateway.entrance.may_use
    must_stay = gateway.entrance.is_local_only(exchange)
    return [
        entry
        for entry in listed
        if may_use(exchange, entry.id, entry.root) and not (must_stay and entry.x_odyssai.leaves)
    ]


def _all(listed: list[ModelEntry], exchange: Exchange) -> ModelList | ModelPage:
    if not _is_anthropic(exchange):
        return ModelList(data=listed)
    return page([_info(entry) for entry in listed], exchange.query)


def _one(
    listed: list[ModelEntry], wanted: str, exchange: Exchange, fleet: Fleet
) -> ModelEntry | ModelInfo:
    entry = next((entry for entry in listed if entry.id == wanted), None)
    if entry is None:
        raise unknown(wanted, fleet)
    return _info(entry) if _is_anthropic(exchange) else entry


def _is_anthropic(exchange: Exchange) -> bool:
    return b"anthropic-version" in exchange.headers


def entries(fleet: Fleet, config: Config) -> list[ModelEntry]:
    """What is served now, in the order of the names; the operator's names come first."""
    return _named(_served(fleet), config)


def askable(gateway: Gateway) -> list[ModelEntry]:
    """What is served, and what a request would load, in the same order."""
    stored = [
        entry
        for model, nodes in gateway.shelf.models()
        if gateway.may_load(model.id)
        for entry in _stored(model, nodes)
    ]
    return _named([*_served(gateway.fleet), *stored], gateway.config.effective)


def _served(fleet: Fleet) -> list[ModelEntry]:
    serving = fleet.serving()
    return [
        _entry(name, card, [beat for beat in serving if card_of(beat, card.id) is not None])
        for card in fleet.models()
        for name in (card.id, *card.aliases)
    ]


def _named(own: list[ModelEntry], config: Config) -> list[ModelEntry]:
    return _sorted([*_called(own, config), *own])


def _called(own: list[ModelEntry], config: Config) -> Iterable[ModelEntry]:
    """Under the names that the operator gave; patterns are no names. What serves comes first."""
    named = {entry.id: entry for entry in reversed(own)}
    for alias in config.aliases or ():
        entry = named.get(target(config, alias))
        if entry is not None and "*" not in alias and alias != entry.root:
            x_odyssai = replace(entry.x_odyssai, alias_for=entry.root)
            yield replace(entry, id=alias, x_odyssai=x_odyssai)


def _sorted(listed: Iterable[ModelEntry]) -> list[ModelEntry]:
    """One for each name: the first."""
    named: dict[str, ModelEntry] = {}
    for entry in listed:
        named.setdefault(entry.id, entry)
    return [named[name] for name in sorted(named)]


def _entry(name: str, card: ModelCard, engines: list[EngineBeat]) -> ModelEntry:
    upstream = next((beat.upstream for beat in engines if beat.upstream), None)
    generates = card.kind in ("llm", "vlm")
    drafting = _drafting(engines)
    return ModelEntry(
        id=name,
        created=card.created_s,
        owned_by=card.owner,
        root=card.id,
        x_odyssai=XOdyssai(
            loaded=not all(_sleeps(beat, card) for beat in engines),
            kind=card.kind,
            backend="http-proxy" if upstream else "mlx",
            nodes=sorted({beat.node for beat in engines}),
            engines=[beat.engine for beat in engines],
            context_length=card.context_length,
            max_output_tokens=(card.max_output_tokens or card.context_length) if generates else 0,
            family=card.family,
            quantization=card.quantization,
            size_bytes=card.size_bytes,
            modalities=["text", "image"] if card.kind == "vlm" else ["text"],
            embedding_size=card.embedding_size,
            supports_streaming=generates,
            supports_tools=card.calls_tools,
            supports_vision=card.kind == "vlm",
            supports_json_mode=card.keeps_formats,
            supports_reasoning=card.reasons,
            supports_embeddings=card.kind == "embedder",
            supports_rerank=card.kind == "reranker",
            estimated_tps=max((beat.answer_tokens_per_s for beat in engines), default=0.0),
            warm=any(beat.steps for beat in engines),
            draft_model=drafting.model if drafting else None,
            num_draft_tokens=drafting.ahead if drafting else 0,
            accept_rate=drafting.acceptance if drafting else 0.0,
            alias_for=None if name == card.id else card.id,
            upstream=upstream,
            leaves=all(leaves(beat, card.id) for beat in engines),
            hops=card.hops,
            provider=next((beat.provider for beat in engines if beat.provider), None),
            price=card.price,
            supports_documents=card.reads_documents,
        ),
    )


def _sleeps(beat: EngineBeat, card: ModelCard) -> bool:
    known = card_of(beat, card.id)
    return known is not None and known.sleeps


def _drafting(engines: list[EngineBeat]) -> Drafting | None:
    """Of the engine that gains most by it."""
    drafts = [beat.drafting for beat in engines if beat.drafting and not beat.drafting.trouble]
    return max(drafts, key=lambda draft: (draft.speedup, draft.acceptance), default=None)


async def _not_ready(gateway: Gateway) -> list[ModelEntry]:
    """Models that engines are loading or hold without serving, that nodes have stored, and that
    engines held when they were last heard.
    """
    engines = gateway.fleet.engines()
    listed = [entry for beat in engines for entry in _waiting(beat)]
    heard = {beat.engine for beat in engines}
    try:
        records = await Bucket.open(gateway.mesh.bus, ENGINES, EngineRecord)
        silent = [r for r in (await records.all()).values() if r.engine not in heard]
    except BusError as error:
        raise MeshError(
            Code.BUS_UNAVAILABLE, f"The mesh's state cannot be read: {error}. Try again."
        ) from error
    stored = (entry for model, nodes in gateway.shelf.models() for entry in _stored(model, nodes))
    return [*listed, *stored, *(entry for record in silent for entry in _silent(record))]


def _waiting(beat: EngineBeat) -> list[ModelEntry]:
    """Of an engine that is there and does not serve."""
    if beat.state == "loading" and beat.loads is not None:
        return [_absent(beat.loads, beat, loading=True, loaded=False)]
    if beat.state == "ready" and beat.stalled_s < STALL_S:
        return []
    return [
        _absent(name, beat, loading=False, loaded=True, alias_for=card.id)
        for card in beat.models
        for name in (card.id, *card.aliases)
    ]


def _stored(model: StoredModel, nodes: list[NodeId]) -> list[ModelEntry]:
    """Of a node's disk, under each of its names. What only an engine could tell is left out."""
    generates = model.kind in ("llm", "vlm")
    return [
        ModelEntry(
            id=name,
            created=int(model.modified_s),
            owned_by="odyssai",
            root=model.id,
            x_odyssai=XOdyssai(
                ready=False,
                loaded=False,
                kind=model.kind,
                nodes=list(nodes),
                context_length=model.footprint.context_length,
                max_output_tokens=model.footprint.context_length if generates else 0,
                family=model.family,
                quantization=model.quantization,
                size_bytes=model.disk_bytes,
                modalities=["text", "image"] if model.kind == "vlm" else ["text"],
                supports_streaming=generates,
                supports_vision=model.kind == "vlm",
                supports_embeddings=model.kind == "embedder",
                supports_rerank=model.kind == "reranker",
                admin_loadable=True,
                alias_for=None if name == model.id else model.id,
            ),
        )
        for name in (model.id, *model.aliases)
    ]


def _silent(record: EngineRecord) -> list[ModelEntry]:
    """Of an engine that its agent started, and that is not heard."""
    is_folder = record.source.startswith(("/", ".", "~"))
    known = record.source.rstrip("/").rpartition("/")[2] if is_folder else record.source
    names = record.models or (known,)
    return [
        _absent(name, record, loading=False, loaded=False, alias_for=names[0]) for name in names
    ]


def _absent(
    name: str,
    where: EngineBeat | EngineRecord,
    *,
    loading: bool,
    loaded: bool,
    alias_for: str | None = None,
) -> ModelEntry:
    return ModelEntry(
        id=name,
        created=0,
        owned_by="odyssai",
        root=alias_for or name,
        x_odyssai=XOdyssai(
            ready=False,
            loaded=loaded,
            loading=loading,
            nodes=[where.node],
            engines=[where.engine],
            alias_for=None if alias_for == name else alias_for,
        ),
    )


def _info(entry: ModelEntry) -> ModelInfo:
    known = entry.x_odyssai
    return info(
        entry.id,
        entry.created,
        context_length=known.context_length,
        max_tokens=known.max_output_tokens,
        reasons=known.supports_reasoning,
        sees=known.supports_vision,
        reads_documents=known.supports_documents,
        keeps_formats=known.supports_json_mode,
    )


def fingerprint(fleet: Fleet, model: str) -> str:
    """Stays the same as long as the same model is served by the same version of this software."""
    card = next((card_of(beat, model) for beat in fleet.holders(model)), None)
    known = (card.id, card.quantization, card.size_bytes, card.created_s) if card else (model,)
    return "fp_" + blake2b(repr((VERSION, known)).encode(), digest_size=5).hexdigest()
