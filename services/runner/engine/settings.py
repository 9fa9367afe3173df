"""What an engine is told by its agent."""

import psutil
from msgspec import DecodeError, Struct, json

from proto.group import Group
from proto.ids import EngineId, NodeId
from services.host import SettingError, number, setting, switch
from services.runner.settings import read_aliases

CACHE_SHARE = 0.1
"""Part of the machine's memory that the prefix cache may take, unless told."""
CACHE_MOST = 8 << 30


class Settings(Struct, frozen=True, kw_only=True):
    engine: EngineId
    node: NodeId
    boot: str
    source: str
    slots: int
    """Requests that prefill or decode together."""
    queue_limit: int
    """Requests that may wait beyond them; one more is refused."""
    cache_bytes: int
    """Most bytes of the prefix cache."""
    kv_tokens: int | None = None
    """Most tokens of all running requests together; None: not bounded."""
    kv_bytes: int | None = None
    """Most bytes of their KV caches and of the prefix cache together; None: not bounded."""
    context: int | None = None
    """Most tokens of one request, prompt and answer; None: as many as the model was made for."""
    aliases: dict[str, str]
    """Other names of models, of this engine's and of others."""
    draft: str = ""
    """The model that guesses for it; empty: none."""
    trusts_code: bool = False
    """Python in a model's folder is run."""
    group: Group | None = None
    """It is one rank of several; None: it has the whole model."""
    address: str = ""
    """Where other machines reach this one; empty: where it reaches the bus."""


def read() -> Settings:
    """From the ODYSSAI_* variables that the agent sets. Raises SettingError."""
    share = min(CACHE_MOST, int(CACHE_SHARE * psutil.virtual_memory().total))
    kv_tokens, context = _granted("ODYSSAI_KV_TOKENS"), _granted("ODYSSAI_CONTEXT")
    return Settings(
        engine=EngineId(setting("ODYSSAI_ENGINE")),
        node=NodeId(setting("ODYSSAI_NODE")),
        boot=setting("ODYSSAI_BOOT"),
        source=setting("ODYSSAI_SOURCE"),
        slots=int(number("ODYSSAI_SLOTS", 64, least=1)),
        queue_limit=int(number("ODYSSAI_QUEUE", 256)),
        cache_bytes=int(number("ODYSSAI_CACHE_BYTES", share)),
        kv_tokens=kv_tokens,
        kv_bytes=_granted("ODYSSAI_KV_BYTES"),
        # One request alone has to fit, or it would wait for ever.
        context=min(filter(None, (context, kv_tokens)), default=None),
        aliases=read_aliases(),
        draft=setting("ODYSSAI_DRAFT", ""),
        trusts_code=switch("ODYSSAI_TRUST_REMOTE_CODE"),
        group=_group(),
        address=setting("ODYSSAI_FILES_HOST", ""),
    )


def _group() -> Group | None:
    told = setting("ODYSSAI_GROUP", "")
    try:
        return json.decode(told, type=Group) if told else None
    except DecodeError as error:
        raise SettingError(f"ODYSSAI_GROUP, which agents set, makes no sense: {error}") from error


def _granted(name: str) -> int | None:
    """What the agent's ledger has for this engine."""
    return int(number(name, 0)) or None
