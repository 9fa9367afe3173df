"""What an agent is told: which node it is, which models to hold."""

import socket

from msgspec import Struct

from proto.ids import NodeId, slug
from services.host import SettingError, number, setting
from services.runner.memory import declared_bytes
from services.runner.models.names import NO_MODEL


class Settings(Struct, frozen=True, kw_only=True):
    node: NodeId
    sources: tuple[str, ...]
    """Model folders or Hugging Face ids that it is to hold whatever else is in its plan."""
    aliases: dict[str, str]
    """Other names of models, each for one source or name; engines read them themselves."""
    memory_bytes: int | None
    """What models may take, by the operator's word; None: it is to be measured."""
    crash_limit: int
    """Ends of an engine within ten minutes after which its model is quarantined; 0: never."""


def read() -> Settings:
    """From the ODYSSAI_* variables of an agent. Raises SettingError."""
    node = setting("ODYSSAI_NODE", slug(socket.gethostname()) or "node")
    if slug(node) != node:
        raise SettingError(f"ODYSSAI_NODE may hold a-z, 0-9 and '-', not {node!r}")
    return Settings(
        node=NodeId(node),
        sources=_sources(setting("ODYSSAI_MODELS", "smollm2")),
        aliases=read_aliases(),
        memory_bytes=declared_bytes(),
        crash_limit=int(number("ODYSSAI_CRASH_LIMIT", 3)),
    )


def _sources(text: str) -> tuple[str, ...]:
    """Each once."""
    named = dict.fromkeys(filter(None, map(str.strip, text.split(","))))
    return tuple(source for source in named if source != NO_MODEL)


def read_aliases() -> dict[str, str]:
    """From ODYSSAI_ALIASES (``name=model,…``). Raises SettingError."""
    aliases = {}
    for part in filter(None, map(str.strip, setting("ODYSSAI_ALIASES", "").split(","))):
        name, _, model = map(str.strip, part.partition("="))
        if not name or not model:
            raise SettingError(f"ODYSSAI_ALIASES: {part!r} is not NAME=MODEL")
        aliases[name] = model
    return aliases
