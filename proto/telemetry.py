"""What operators hear: JSON on ``telemetry.v1.<kind>.<source>``, never prompt or answer."""

from typing import Literal

from proto.jobs import NodeProgress
from proto.message import Message

Dialect = Literal["openai", "anthropic", "ollama"]
VERSION = 1
"""Stands in every telemetry message as ``v``."""


class RequestEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """One finished request, said once by the gateway that served it."""

    v: int = VERSION
    request: str
    client_request: str | None = None
    """The id that the client gave the request in a header of its own."""
    model: str
    """As the client asked for it."""
    engine: str | None
    gateway: str
    dialect: Dialect
    endpoint: str
    stream: bool
    status: str
    """``ok``, ``cancelled`` (the client left), ``stalled`` (it read nothing for long and was cut)
    or the word of an error code."""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    started_s: float = 0.0
    """Unix time in seconds."""
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    ttft_s: float | None = None
    """From the last byte of the request to the first token."""
    duration_s: float = 0.0
    tokens_per_s: float = 0.0
    session: str | None = None
    key: str | None = None
    """Who asked, by the name of the API key or a hash of it."""
    trace: str | None = None
    """W3C trace id."""
    resumed: int = 0
    """How often another engine went on with an answer whose own was lost."""
    route: tuple[str, ...] = ()
    """The ids of the models that were asked in turn, by the operator's fallbacks; the last one
    served it. Empty where none did.
    """
    served: str = ""
    """The id of the model that served; empty where no engine took it."""
    provider: str = ""
    """Whose that is; empty: an engine of the mesh's own."""
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    """To 1e-9 dollars. None: nobody has a price for it."""
    is_estimated: bool = False
    """It was cut at a provider's, which told no tokens: they are reckoned by the length of what was
    said.
    """


class EgressEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A request that left the local network, said once by the cloud service when it is over."""

    v: int = VERSION
    request: str
    engine: str
    """What stands for the provider on the bus."""
    provider: str
    model: str
    """As it is called here."""
    key: str = ""
    """Who asked, as in ``RequestEvent``."""
    calls: int
    """Times that the provider was asked, with those that failed."""
    sent_bytes: int
    """Of bodies, of all calls, as are those received."""
    received_bytes: int
    prompt_tokens: int = 0
    """As the provider counts them; 0 where it does not say."""
    completion_tokens: int = 0
    status: str
    """``ok``, or the word of an error code."""
    at_s: float
    """Unix time in seconds."""


class Said(Message, frozen=True, kw_only=True, omit_defaults=False):
    """What one choice of an answer came to."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[str, ...] = ()
    """Name and arguments of each, as they were generated."""


class CaptureEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A request and its answer in full. Said only while an operator has capture switched on."""

    v: int = VERSION
    request: str
    endpoint: str
    model: str
    key: str | None = None
    body: str
    """As the client sent it, cut at CAPTURED characters."""
    said: tuple[Said, ...]
    """Of each choice; none of what has no tokens."""
    at_s: float


CAPTURED = 1 << 20

AlertKind = Literal[
    "engine_gone",
    "engine_wedged",
    "upstream_down",
    "node_gone",
    "gateway_gone",
    "service_gone",
    "model_quarantined",
    "state_unreadable",
    "messages_unreadable",
]


class Alert(Message, frozen=True, kw_only=True, omit_defaults=False):
    """Something an operator should know; ``cleared`` ends it."""

    v: int = VERSION
    alert: AlertKind
    subject: str
    """Who it is about."""
    detail: str
    cleared: bool = False
    at_s: float
    """Unix time in seconds."""


Phase = Literal["starting", "ready", "adopted", "restarting", "stopped", "quarantined", "refused"]


class EngineEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A phase of an engine's life, said by its agent."""

    v: int = VERSION
    engine: str
    node: str
    model: str
    phase: Phase
    detail: str = ""
    at_s: float


class JobEvent(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A job began, went on or ended; while bytes are moved, once a second."""

    v: int = VERSION
    job: str
    kind: str
    model: str = ""
    state: str
    phase: str
    nodes: tuple[NodeProgress, ...] = ()
    detail: str = ""
    at_s: float
