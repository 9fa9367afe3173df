"""Engines that already run near by: what one is, and how one is told what to hold."""

from typing import Literal

from proto.config import ProviderKind
from proto.ids import ModelId
from proto.message import Message
from proto.presence import ModelCard


class Recognise(Message, frozen=True, kw_only=True):
    """Ask a cloud service what runs at an address. Answered by ``Recognised``."""

    url: str
    """Of the server, with or without ``/v1``."""
    key: str = ""
    """That it wants to see. It goes to that address and nowhere else, and is not kept."""


class Recognised(Message, frozen=True, kw_only=True, tag="recognised"):
    """An engine, as it told of itself."""

    kind: ProviderKind
    title: str
    """Of its make, as its makers write it."""
    version: str = ""
    url: str
    """What paths of OpenAI's protocol are added to."""
    models: tuple[ModelCard, ...]
    """By the ids it has for them."""
    slots: int | None = None
    """Requests it takes side by side; None: it does not tell."""


class SetLoaded(Message, frozen=True, kw_only=True):
    """Have an enrolled engine load a model, or unload it. Answered by ``LoadedSet`` at once.

    It takes as long as it takes: whoever asks again hears how it goes, and why it went wrong.
    """

    model: ModelId
    """As it is called here."""
    is_loaded: bool


class LoadedSet(Message, frozen=True, kw_only=True, tag="loaded_set"):
    phase: Literal["under way", "done"]
