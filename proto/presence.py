"""Who is there and how they are: heartbeats, and the word that somebody is gone."""

from typing import Literal

from msgspec import Struct, field

from proto.ids import EngineId, GatewayId, JobId, KeyId, ModelId, NodeId
from proto.link import Link
from proto.message import Message
from proto.price import Price

HEARTBEAT_S = 1.0
"""Seconds between two heartbeats; each carries the speaker's full state."""
SILENCE_S = 2.5
"""Unheard for this long, a speaker is taken for dead: two lost heartbeats are bad luck."""
STALL_S = 2.0
"""An engine with work whose step clock stands this long is wedged."""

EngineState = Literal["loading", "ready", "draining"]
Circuit = Literal["closed", "open", "half_open"]
"""``open``: it failed again and again, and is left alone for a while; ``half_open``: one request
finds out whether it is well again."""
ModelKind = Literal["llm", "vlm", "embedder", "reranker"]
"""``vlm`` sees pictures; ``embedder`` and ``reranker`` generate nothing."""


class ModelCard(Struct, frozen=True, kw_only=True):
    """What an engine's model is and can do; every flag is true or absent."""

    id: ModelId
    aliases: tuple[ModelId, ...] = ()
    context_length: int
    """Tokens of prompt and answer together."""
    family: str = ""
    """mlx-lm's model type, such as ``llama``."""
    quantization: str = ""
    """Such as ``4bit`` or ``float32``."""
    size_bytes: int = 0
    owner: str = "odyssai"
    has_chat_template: bool = True
    created_s: int = 0
    """Unix time at which the model's files were written."""
    kind: ModelKind = "llm"
    calls_tools: bool = False
    reasons: bool = False
    """It thinks before it answers, in a block that is told apart."""
    keeps_formats: bool = False
    """JSON, schemas, regular expressions and grammars are enforced."""
    embedding_size: int = 0
    """Numbers in an embedder's vectors."""
    max_output_tokens: int = 0
    """Of one answer; 0: as many as the context has room for."""
    reads_documents: bool = False
    """PDF files among its messages."""
    price: Price | None = None
    """None: it costs nothing, or nobody knows what."""
    sleeps: bool = False
    """An engine that is not ours has it on disk, and loads it when it is asked for."""
    leaves: bool = False
    """Another mesh has it from outside the local network."""
    hops: int = 0
    """Other meshes between us and whoever runs it."""


class Unreadable(Struct, frozen=True, kw_only=True):
    """What a process heard or found and could not read, such as of a newer version."""

    messages: int = 0
    """Dropped as malformed, since boot. Its log has the subjects."""
    records: tuple[str, ...] = ()
    """Of shared state, by bucket and key such as ``plans/studio``: they are ignored."""


class CacheLoad(Struct, frozen=True, kw_only=True):
    """The prefix cache of an engine."""

    used_bytes: int = 0
    limit_bytes: int = 0
    tokens: int = 0


class Drafting(Struct, frozen=True, kw_only=True):
    """A small model that guesses for an engine's own, and how it fares."""

    model: ModelId
    ahead: int = 0
    """Tokens that are guessed before the next pass; 0: at the moment decoding plainly is faster, or
    is being measured.
    """
    guessed_tokens: int = 0
    """Since boot, as ``accepted_tokens``."""
    accepted_tokens: int = 0
    """Of those guessed."""
    acceptance: float = 0.0
    """Of late, how much of what was guessed came true, guesses behind a wrong one left out."""
    speedup: float = 0.0
    """Tokens a second, compared to plain decoding, as last measured; 0: not yet."""
    trouble: str = ""
    """Why it is of no use."""


MOST_PREFIXES = 128
"""Of one heartbeat."""


class EngineBeat(Message, frozen=True, kw_only=True):
    """An engine's full state. Said by its process every second and on every change of state."""

    engine: EngineId
    node: NodeId
    boot: str
    pid: int
    state: EngineState
    models: tuple[ModelCard, ...]
    """One for a loaded model; a cloud upstream serves many."""
    slots: int = 0
    """Sequences that can decode together."""
    running: int = 0
    queued: int = 0
    queue_limit: int = 0
    queued_tokens: int = 0
    """Prompt tokens not yet prefilled, of running and waiting requests."""
    unread: int = 0
    """The requests that ``queued_tokens`` are of."""
    batch_requests: int = 0
    """Of ``running`` and ``queued``, those of priority ``batch``: they wait for all others."""
    request_s: float = 0.0
    """How long a request runs once it is admitted, averaged over the latest ones."""
    idle_s: float = 0.0
    """Since its last request ended, or since it could first be asked; 0 while it has any."""
    kv_tokens: int = 0
    """Most tokens of all running requests together; 0: not bounded."""
    kv_used_tokens: int = 0
    """Of those, what running requests hold or are about to."""
    steps: int = 0
    """The step clock: grows with every prefill chunk and decode step."""
    stalled_s: float = 0.0
    """How long the step clock has stood while there was work."""
    tokens_per_s: float = 0.0
    """Generated tokens a second over the last heartbeat interval."""
    prefill_tokens_per_s: float = 0.0
    """How fast prompts are read, averaged over the latest; zero before the first."""
    answer_tokens_per_s: float = 0.0
    """Of one answer, averaged over the latest ones; zero before the first."""
    generated_tokens: int = 0
    """Since boot."""
    memory_bytes: int = 0
    """Resident memory of the process, or what mlx holds where that is more."""
    cache: CacheLoad = CacheLoad()
    prefixes: dict[bytes, int] = field(default_factory=dict)
    """How many tokens of a prompt's beginning its prefix cache holds, by estimate, by the digest
    that ``Schedule.prefix`` has of it. The most telling first, at most MOST_PREFIXES; none on
    telemetry.
    """
    loads: ModelId | None = None
    """The model that is being loaded, by the id it will have."""
    parked: int = 0
    """Requests whose clients do not read: neither running nor queued, until they do."""
    upstream: str | None = None
    """The base URL behind it, when it is an engine that is not ours."""
    provider: str = ""
    """The name in the configuration of what is behind it."""
    provider_kind: str = ""
    """Of ``proto.config.ProviderKind``, or of a later version's."""
    accepts: tuple[str, ...] = ()
    """Patterns of names that it takes also where ``models`` does not have them, but for those that
    ``refuses`` has.
    """
    refuses: tuple[str, ...] = ()
    trouble: str = ""
    """The latest error of what is behind it, while that lasts."""
    leaves: bool = False
    """What it is asked leaves the local network."""
    speaks: tuple[str, ...] = ()
    """Endpoints such as ``/v1/messages`` whose requests it takes in their clients' own words."""
    circuit: Circuit = "closed"
    """Whether what is behind it is asked at all."""
    asyncio_tasks: int = 0
    """In its process. A number that only grows is a leak."""
    unreadable: Unreadable = Unreadable()
    drafting: Drafting | None = None
    """None: no model guesses for it."""


EnginePhase = Literal[
    "waiting", "fetching", "starting", "loading", "ready", "draining", "stopping", "crashed",
    "quarantined", "refused",
]  # fmt: skip
"""``waiting``: to be started; ``crashed``: to be started again after a pause; ``refused``: it does
not fit, or its files are not what was placed."""


class EngineStatus(Struct, frozen=True, kw_only=True):
    """How far an agent is with one engine of its node's plan."""

    engine: EngineId
    model: ModelId
    phase: EnginePhase
    detail: str = ""
    """In words: what it waits for, or why it failed."""
    crashes: int = 0
    """Of late; too many, and the model is quarantined."""
    life: int = 0
    """The placement's, of which this process is."""


TaskPhase = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]


class TaskStatus(Struct, frozen=True, kw_only=True):
    """How far a node is with a task. Said in its heartbeat until the task leaves its plan."""

    job: JobId
    phase: TaskPhase
    step: str = ""
    """In words, such as ``model-00002-of-00004.safetensors`` or ``verifying``."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0: not known yet."""
    code: str = ""
    """The word of an ``errors.Code``, for one that failed."""
    error: str = ""
    """For people: what is wrong and what to do."""


class NodeBeat(Message, frozen=True, kw_only=True):
    """A machine with a runner agent. Said by the agent every second and on a change of a phase."""

    node: NodeId
    boot: str
    pid: int
    host: str
    platform: str
    cpu_count: int = 0
    memory_bytes: int = 0
    free_bytes: int = 0
    load: float = 0.0
    """Processes wanting a core, one-minute average."""
    wirable_bytes: int = 0
    """What models may take of the memory, by the operating system or by the operator's word."""
    chip: str = ""
    """Such as ``Apple M3 Ultra``; empty for one whose speed nobody knows."""
    engines: tuple[EngineStatus, ...] = ()
    """One for each placement of the node's plan."""
    tasks: tuple[TaskStatus, ...] = ()
    """One for each task of the plan, and of those that were in it a moment ago."""
    is_draining: bool = False
    """Its engines take nothing new."""
    version: str = ""
    """Of the software it runs."""
    links: tuple[Link, ...] = ()
    """To other nodes, by peer, each one's usual address first."""
    asyncio_tasks: int = 0
    """In the agent's process."""
    unreadable: Unreadable = Unreadable()


class Used(Struct, frozen=True, array_like=True):
    """What a key took of a gateway in one second."""

    age_s: float
    """How long ago that was when the heartbeat was said."""
    requests: int
    tokens: int


class KeyUse(Struct, frozen=True, kw_only=True):
    """What a key that has a limit took of a gateway in the last minute."""

    key: KeyId
    used: tuple[Used, ...]


class GatewayBeat(Message, frozen=True, kw_only=True):
    """A gateway process. Engines cancel the requests of one that falls silent."""

    gateway: GatewayId
    boot: str
    pid: int
    url: str
    open_requests: int = 0
    used: tuple[KeyUse, ...] = ()
    """By keys that have a limit, which holds for all gateways together."""
    asyncio_tasks: int = 0
    """In its process."""
    unreadable: Unreadable = Unreadable()


class Probe(Message, frozen=True, kw_only=True):
    """Ask a gateway that missed a heartbeat whether it is there. Answered by ``Here``."""


class Here(Message, frozen=True, kw_only=True, tag="here"):
    """The gateway lives."""

    boot: str


class ServiceBeat(Message, frozen=True, kw_only=True):
    """Any other service: scheduler, cloud, health."""

    service: str
    id: str
    boot: str
    pid: int
    epoch: int = 0
    """Of the lease, for the scheduler that holds it."""
    asyncio_tasks: int = 0
    """In its process."""
    unreadable: Unreadable = Unreadable()


class Gone(Message, frozen=True, kw_only=True):
    """Somebody ended, seen by whoever knows first: its parent or the bus server."""

    kind: Literal["engine", "node", "gateway", "service"]
    id: str
    boot: str = ""
    """The life that ended; empty when the observer cannot know."""
    why: str = ""
