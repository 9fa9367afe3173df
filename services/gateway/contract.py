"""GET /.well-known/inference-engine.json: what this mesh can do. Every line of it is true now.

One document for two kinds of readers: those that look for ``vendor``, ``features``
and ``limits``, and those that look for ``engine``, ``capabilities`` and ``models``.
"""

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from bus.fleet import Fleet
from proto.config import Config
from proto.keys import may_use
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.keys.scopes import NEEDS
from services.gateway.models.models import ModelEntry, XOdyssai, entries
from services.host import VERSION

NAME = "odyssai-mesh"
DIALECTS = ("openai/v1", "openai/responses", "anthropic/v1", "ollama/api")
VENDOR = "odyssai.eu"
"""Companion takes an engine for one that keeps a contract only under this name."""


class Auth(Struct, frozen=True):
    required: bool = False
    scheme: str = "none"
    """Or ``bearer``, which may be sent as ``x-api-key`` as well."""
    scope: str = ""
    public_routes: list[str] = msgspec.field(default_factory=lambda: ["/*"])
    eventsource_query_fallback: bool = False


GUARDED = Auth(
    required=True,
    scheme="bearer",
    scope="inference",
    public_routes=sorted(route for route, need in NEEDS.items() if need == "nothing"),
)


class Speculation(Struct, frozen=True):
    supported: bool = True
    modes: list[str] = msgspec.field(default_factory=lambda: ["draft_model"])
    active_pairs: list[str] = []
    """``MODEL+DRAFT``; how each fares stands with its model."""


class Capabilities(Struct, frozen=True, kw_only=True):
    stream: bool = True
    tools: bool = False
    """This and what follows: there is a model now that can do it."""
    vision: bool = False
    embeddings: bool = False
    rerank: bool = False
    reasoning: bool = False
    structured_outputs: bool = False
    max_context: int
    """Tokens of prompt and answer, of the model with the most; 0 while none is there."""
    session_cache: bool = True
    openai_compat: bool = True
    anthropic_compat: bool = True
    ollama_compat: bool = True
    speculative_decoding: Speculation = Speculation()


class Limits(Struct, frozen=True):
    max_concurrent_requests: int
    """Slots and queue places of all engines; beyond them is a 429."""
    max_prompt_chars: int
    """Beyond them is a 413."""


class Admin(Struct, frozen=True):
    models_dir_configurable: bool = False
    supports_pool_load_unload: bool = True
    supports_hot_swap: bool = False
    models_endpoint: str = "/admin/models"
    nodes_endpoint: str = "/admin/nodes"
    jobs_endpoint: str = "/admin/jobs"
    status_endpoint: str = "/admin/status"
    load_endpoint: str = "/admin/models/load"
    unload_endpoint: str = "/admin/models/unload"


class Extension(Struct, frozen=True):
    doc: str
    fields: list[str]


class Extensions(Struct, frozen=True):
    x_odyssai: Extension


class ContractModel(Struct, frozen=True):
    id: str
    x_odyssai: XOdyssai


class Contract(Struct, frozen=True, kw_only=True):
    name: str = NAME
    engine: str = NAME
    vendor: str = VENDOR
    version: str = VERSION
    api_compat: list[str] = msgspec.field(default_factory=lambda: list(DIALECTS))
    auth: Auth = Auth()
    features: list[str]
    capabilities: Capabilities
    limits: Limits
    admin: Admin = Admin()
    extensions: Extensions
    models: list[ContractModel]


async def show_contract(gateway: Gateway, exchange: Exchange) -> None:
    caller = gateway.entrance.known(exchange, "models")
    is_open = gateway.entrance.guard.access != "keys"
    document = contract(
        gateway.fleet if caller else Fleet(),
        gateway.config.effective,
        gateway.settings.prompt_limit_chars,
        Auth() if is_open else GUARDED,
        caller.models if caller else None,
    )
    await exchange.reply(200, msgspec.json.encode(document))


def contract(
    fleet: Fleet,
    config: Config,
    prompt_limit_chars: int,
    auth: Auth,
    patterns: tuple[str, ...] | None,
) -> Contract:
    """``patterns`` are those of the models that are told of; None: all."""
    serving = fleet.serving()
    listed = [e for e in entries(fleet, config) if may_use(patterns, e.id, e.root)]
    capabilities = _capabilities([entry.x_odyssai for entry in listed], _pairs(listed))
    names = [field.encode_name for field in fields(XOdyssai)]
    return Contract(
        auth=auth,
        features=_features(capabilities, any(beat.upstream for beat in serving)),
        capabilities=capabilities,
        limits=Limits(sum(beat.slots + beat.queue_limit for beat in serving), prompt_limit_chars),
        extensions=Extensions(Extension("/openapi.json", names)),
        models=[ContractModel(entry.id, entry.x_odyssai) for entry in listed],
    )


def _capabilities(models: list[XOdyssai], pairs: list[str]) -> Capabilities:
    return Capabilities(
        tools=any(model.supports_tools for model in models),
        vision=any(model.supports_vision for model in models),
        embeddings=any(model.supports_embeddings for model in models),
        rerank=any(model.supports_rerank for model in models),
        reasoning=any(model.supports_reasoning for model in models),
        structured_outputs=any(model.supports_json_mode for model in models),
        max_context=max((model.context_length for model in models), default=0),
        speculative_decoding=Speculation(active_pairs=pairs),
    )


def _pairs(listed: list[ModelEntry]) -> list[str]:
    """Each once, by the model's own name."""
    own = [entry for entry in listed if entry.id == entry.root and entry.x_odyssai.draft_model]
    return [f"{entry.id}+{entry.x_odyssai.draft_model}" for entry in own]


def _features(there: Capabilities, has_upstream: bool) -> list[str]:
    optional = {
        "tool-calling": there.tools,
        "vision": there.vision,
        "embeddings": there.embeddings,
        "rerank": there.rerank,
        "reasoning": there.reasoning,
        "structured-outputs": there.structured_outputs,
        "speculative-decoding": bool(there.speculative_decoding.active_pairs),
        "cloud-passthrough": has_upstream,
    }
    always = ["sse-streaming", "prefix-cache", "openai-models-extended"]
    return always + [name for name, is_there in optional.items() if is_there]
