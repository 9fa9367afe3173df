"""What an agent is told: which node it is, which models to hold."""

import socket

from msgspec import Struct

from proto.ids import NodeId, slug
from services.host import SettingError, setting


class Settings(Struct, frozen=True, kw_only=True):
    node: NodeId
    sources: tuple[str, ...]
    """Model folders or Hugging Face ids; an engine for each."""
    aliases: dict[str, str]
    """Other names of models, each for one source or name; engines read them themselves."""


def read() -> Settings:
    """From ODYSSAI_NODE, ODYSSAI_MODELS and ODYSSAI_ALIASES. Raises SettingError."""
    node = setting("ODYSSAI_NODE", slug(socket.gethostname()) or "node")
    if slug(node) != node:
        raise SettingError(f"ODYSSAI_NODE may hold a-z, 0-9 and '-', not {node!r}")
    sources = [part.strip() for part in setting("ODYSSAI_MODELS", "smollm2").split(",")]
    return Settings(node=NodeId(node), sources=tuple(filter(None, sources)), aliases=read_aliases())


def read_aliases() -> dict[str, str]:
    """From ODYSSAI_ALIASES (``name=model,…``). Raises SettingError."""
    aliases = {}
    for part in filter(None, map(str.strip, setting("ODYSSAI_ALIASES", "").split(","))):
        name, _, model = map(str.strip, part.partition("="))
        if not name or not model:
            raise SettingError(f"ODYSSAI_ALIASES: {part!r} is not NAME=MODEL")
        aliases[name] = model
    return aliases
