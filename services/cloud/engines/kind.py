"""What the cloud service must know of one make of engine."""

from typing import Protocol

from msgspec import Struct

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.manners import Manners
from services.cloud.engines.probe import Probe


class Look(Struct, frozen=True, kw_only=True):
    """What an engine says of itself at one moment."""

    cards: tuple[ModelCard, ...]
    slots: int | None = None
    """Requests that it takes side by side; None: it does not tell."""
    manners: Manners
    """Those of this version of it."""


class Kind(Protocol):
    """One make. ``probe`` is at the engine's root; all raise MeshError when it does not answer."""

    word: ProviderKind
    """Such as ``ollama``, in configuration and messages."""
    title: str
    """As its makers write it."""
    manners: Manners
    """Of the newest version."""

    async def recognise(self, probe: Probe) -> str | None:
        """Its version, empty if it tells none; None when it is no such engine."""

    async def look(self, probe: Probe) -> Look: ...

    async def load(self, probe: Probe, model: ModelId) -> None:
        """When it returns the model is there, or on its way."""

    async def unload(self, probe: Probe, model: ModelId) -> None: ...


def loads_by_itself(title: str) -> MeshError:
    return MeshError(
        Code.UNSUPPORTED_PARAMETER,
        f"{title} cannot be told to load or unload a model: it decides that by itself.",
        param="model",
    )


def unreadable(title: str, error: Exception) -> MeshError:
    return MeshError(Code.UPSTREAM, f"{title} sent a list of models that cannot be read: {error!r}")
