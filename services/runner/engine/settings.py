"""What an engine is told by its agent."""

import psutil
from msgspec import Struct

from proto.ids import EngineId, NodeId
from services.host import number, setting, switch
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
    aliases: dict[str, str]
    """Other names of models, of this engine's and of others."""
    trusts_code: bool = False
    """Python in a model's folder is run."""


def read() -> Settings:
    """From the ODYSSAI_* variables that the agent sets. Raises SettingError."""
    share = min(CACHE_MOST, int(CACHE_SHARE * psutil.virtual_memory().total))
    return Settings(
        engine=EngineId(setting("ODYSSAI_ENGINE")),
        node=NodeId(setting("ODYSSAI_NODE")),
        boot=setting("ODYSSAI_BOOT"),
        source=setting("ODYSSAI_SOURCE"),
        slots=int(number("ODYSSAI_SLOTS", 64, least=1)),
        queue_limit=int(number("ODYSSAI_QUEUE", 256)),
        cache_bytes=int(number("ODYSSAI_CACHE_BYTES", share)),
        aliases=read_aliases(),
        trusts_code=switch("ODYSSAI_TRUST_REMOTE_CODE"),
    )
