"""What an operator decides for the whole mesh: names, defaults, limits, policies.

Two layers, each a partial ``Config``: the file ``odyssai.yaml`` and what the
admin API was told, which wins. Both are kept in shared state; what is in effect
is computed from them alike by everyone who needs it.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from proto.cluster import ClusterConfig
from proto.ids import ModelId
from proto.message import Message
from proto.placement import Priority
from proto.price import PriceConfig
from proto.prompt import Effort

CONFIG = "config"
"""The bucket of ConfigLayer, by the layer's name: ``file`` and ``admin``."""
Layer = Literal["file", "admin"]
SharedPrefixes = Literal["all", "system", "owner"]
"""``system``: everybody's system prompts and tools, and the rest of one's owner's; ``owner``: of
one's owner's only. Keys that name no owner are owners of their own.
"""

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0)]
Dollars = Annotated[float, Meta(gt=0, le=1e9)]
Moment = Annotated[datetime, Meta(tz=True)]
Scope = Literal["inference", "models", "telemetry", "admin"]
Patterns = list[Annotated[str, Meta(min_length=1)]]
Variable = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
ProviderName = Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$")]
"""It stands before the colon in the names of its models, and in engines' ids."""
ProviderKind = Literal[
    "openai", "anthropic", "openrouter", "openai-compatible",
    "ollama", "lmstudio", "vllm", "llamacpp", "llama-cpp-python", "mlx-lm", "telemak", "odyssai",
    "mesh",
]  # fmt: skip
"""Vendors, whatever else speaks OpenAI's protocol, and engines of a network that are not ours."""


class Setting(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A part of the configuration. What is not set is UNSET, so that a lower layer shows through;
    null sets it back to how things are without any configuration.
    """


class ModelConfig(Setting, frozen=True, kw_only=True):
    """Defaults of one model, or of all whose names a pattern matches. What a request says wins."""

    temperature: Annotated[float, Meta(ge=0)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(gt=0, le=1)] | UnsetType | None = UNSET
    top_k: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    min_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    repetition_penalty: Share | UnsetType | None = UNSET
    presence_penalty: float | UnsetType | None = UNSET
    frequency_penalty: float | UnsetType | None = UNSET
    max_tokens: Positive | UnsetType | None = UNSET
    system_prefix: str | UnsetType | None = UNSET
    """Stands in front of every conversation's system prompt."""
    thinking: bool | UnsetType | None = UNSET
    effort: Effort | UnsetType | None = UNSET
    context: Positive | UnsetType | None = UNSET
    """Tokens of one request that its engines are loaded with."""
    batch: Positive | UnsetType | None = UNSET
    """Requests of full length side by side that its engines are loaded with."""
    slots: Positive | UnsetType | None = UNSET
    draft: Annotated[str, Meta(min_length=1)] | UnsetType | None = UNSET
    """A smaller model of the same vocabulary that its engines guess with; ``none``: none."""
    replicas: Positive | UnsetType | None = UNSET
    """On so many nodes it is loaded when a request asks for it."""
    pinned: bool | UnsetType | None = UNSET
    idle_ttl_s: Seconds | UnsetType | None = UNSET
    """Unused for so long, it is unloaded."""
    on_demand: bool | UnsetType | None = UNSET
    """A request for it loads it."""
    price: PriceConfig | UnsetType | None = UNSET
    """US dollars per million tokens, also of a model on the mesh's own machines; it wins over what
    its provider says.
    """


class LoadingConfig(Setting, frozen=True, kw_only=True):
    """When models come and go by themselves."""

    on_demand: bool | UnsetType | None = UNSET
    """A request for a model that is stored somewhere loads it; without any word: yes."""
    min_residence_s: Seconds | UnsetType | None = UNSET
    """A model that was loaded stays at least so long before it makes room; 30 without any word."""
    idle_ttl_s: Seconds | UnsetType | None = UNSET
    """For models that say nothing of their own; without any word they stay."""


class KeyConfig(Setting, frozen=True, kw_only=True):
    """An API key: how it is known, and what it may take."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | UnsetType | None = UNSET
    """Of the key, in hex. The key itself is written nowhere."""
    weight: Share | UnsetType | None = UNSET
    """Its share beside other keys' when there is not enough for all; 1 without any word."""
    priority: Priority | UnsetType | None = UNSET
    """The best that its requests may ask for."""
    requests_per_minute: Positive | UnsetType | None = UNSET
    tokens_per_minute: Positive | UnsetType | None = UNSET
    """Of prompts and answers together."""
    owner: Annotated[str, Meta(min_length=1)] | UnsetType | None = UNSET
    """Who holds it: keys of one owner find each other's cached prompts; its own name without any
    word.
    """
    tokens_per_day: Positive | UnsetType | None = UNSET
    """Of a day in UTC, as the month."""
    tokens_per_month: Positive | UnsetType | None = UNSET
    tokens_in_all: Positive | UnsetType | None = UNSET
    """Since it was made."""
    usd_per_day: Dollars | UnsetType | None = UNSET
    """US dollars, as its models' prices have it, of a day in UTC."""
    usd_per_month: Dollars | UnsetType | None = UNSET
    usd_in_all: Dollars | UnsetType | None = UNSET
    scopes: list[Scope] | UnsetType | None = UNSET
    """What it may do; inference and models without any word. Whoever may ``admin`` may look at
    models and telemetry as well."""
    models: Patterns | UnsetType | None = UNSET
    """Those it may use, by the names that clients say or by id; ``*`` stands for anything."""
    expires: Moment | UnsetType | None = UNSET
    """From then on it is refused."""
    local_only: bool | UnsetType | None = UNSET
    """Nothing that it asks leaves the local network."""


class ProviderConfig(Setting, frozen=True, kw_only=True):
    """Another server whose models are served here, as ``name:id``. Its keys are kept elsewhere."""

    kind: ProviderKind | UnsetType | None = UNSET
    """``openai-compatible`` without any word."""
    url: Annotated[str, Meta(pattern="^https?://[^ ]+$")] | UnsetType | None = UNSET
    """What every path is added to, such as ``http://host:8000/v1``; vendors need none."""
    models: Patterns | UnsetType | None = UNSET
    """Those that may be used, by the provider's own ids, ``*`` standing for anything, also such as
    its catalog does not have. Without any word: all of its catalog.
    """
    hides: Patterns | UnsetType | None = UNSET
    """Those that may not, whatever ``models`` says."""
    requests: Positive | UnsetType | None = UNSET
    """It is sent at once; 256 without any word."""
    keys_from: list[Variable] | UnsetType | None = UNSET
    """Variables in the cloud service's environment whose values are keys, after those that the
    mesh keeps.
    """
    connect_s: Share | UnsetType | None = UNSET
    """It is waited for a connection; 10 without any word."""
    first_byte_s: Share | UnsetType | None = UNSET
    """It is waited for an answer to begin; 600 without any word."""
    idle_s: Share | UnsetType | None = UNSET
    """An answer that has begun may be silent; 120 without any word."""
    prices: dict[str, PriceConfig | None] | UnsetType | None = UNSET
    """By the provider's own ids or patterns; they win over what it says itself."""


class PrivacyConfig(Setting, frozen=True, kw_only=True):
    """What others may learn of a prompt."""

    prefixes: SharedPrefixes | UnsetType | None = UNSET
    """Whose cached beginnings of prompts a request may find; without any word ``system``."""
    capture: bool | UnsetType | None = UNSET
    """Prompts and answers are told on telemetry; every answer, /health and the log say so."""


class Config(Setting, frozen=True, kw_only=True):
    """A whole layer, or what is in effect."""

    default_model: ModelId | UnsetType | None = UNSET
    """For requests that name none."""
    aliases: dict[str, ModelId | None] | UnsetType = UNSET
    """What clients may say for a model. ``*`` stands for anything: ``claude-sonnet*``."""
    fallbacks: dict[str, list[ModelId] | None] | UnsetType = UNSET
    """Models to ask in turn when one cannot take a request, by its id, alias or a pattern with
    ``*``; the most exact name wins. They are no chains of chains.
    """
    local_only: bool | UnsetType | None = UNSET
    """Nothing that anybody asks leaves the local network."""
    models: dict[str, ModelConfig | None] | UnsetType = UNSET
    """By id, alias or a pattern with ``*``; the most exact name wins, setting by setting."""
    loading: LoadingConfig | UnsetType = UNSET
    clusters: dict[str, ClusterConfig | None] | UnsetType = UNSET
    """Nodes that may serve one model together, by a name of the operator's choice."""
    keys: dict[str, KeyConfig | None] | UnsetType = UNSET
    """By a name of the operator's choice."""
    others: KeyConfig | UnsetType = UNSET
    """For everybody whose key is not known, and for those without one. Its ``scopes`` let them in
    where keys are asked for; ``admin`` is never among them."""
    privacy: PrivacyConfig | UnsetType = UNSET
    providers: dict[ProviderName, ProviderConfig | None] | UnsetType = UNSET
    """By a name of the operator's choice. Null takes one back, also one of the environment's."""


class ConfigLayer(Message, frozen=True, kw_only=True):
    """One layer as it was last given, and where it came from."""

    config: Config = Config()
    origin: str = ""
    """Such as ``studio-1:/Users/me/.odyssai/odyssai.yaml``."""
    at_s: float = 0.0
    """Unix time."""
    problem: str = ""
    """Why its newest version is not in effect: ``config`` is the last that made sense."""


class ConfigView(Message, frozen=True, kw_only=True):
    """All there is to know of the configuration at one moment."""

    effective: Config
    file: ConfigLayer | None = None
    admin: ConfigLayer | None = None
