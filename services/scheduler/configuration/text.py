"""From the text of ``odyssai.yaml`` to a layer of configuration, or the line that is wrong."""

from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec.structs import fields

from proto.cluster import ClusterConfig, ClusterMember
from proto.config import Config, KeyConfig, ModelConfig, ProviderConfig
from proto.ids import ModelId
from services.scheduler.configuration.document import (
    NO_SETTING,
    Document,
    NotConfig,
    complaint,
    read,
)

_ENTRIES: dict[str, Any] = {
    "aliases": ModelId,
    "fallbacks": list[ModelId],
    "models": ModelConfig,
    "clusters": ClusterConfig,
    "keys": KeyConfig,
    "providers": ProviderConfig,
}
"""Sections whose keys are names of the operator's: msgspec does not say which of them is wrong."""


def parse(text: str) -> Config:
    """Raises NotConfig."""
    document = read(text)
    plain = document.plain
    if isinstance(plain, dict):
        # A section with nothing below it says nothing.
        plain = {name: below for name, below in plain.items() if below is not None}
    try:
        return msgspec.convert({} if plain is None else plain, Config)
    except msgspec.ValidationError as error:
        raise _located(document, plain, error) from error


def _located(document: Document, plain: Any, error: msgspec.ValidationError) -> NotConfig:
    path, what = _blame(plain, error)
    return document.wrong(path, f"{what}{_advice(what, path)}")


def _blame(plain: Any, error: msgspec.ValidationError) -> tuple[list[str], str]:
    """The names that lead to what is wrong, and what is wrong with it."""
    for section, type_ in _ENTRIES.items():
        entries = plain.get(section) if isinstance(plain, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(name, str):
                return [section, str(name)], "a name must be text: write it in quotes"
            try:
                msgspec.convert(entry, type_ | None)
            except msgspec.ValidationError as own:
                path, what = complaint(own)
                return [section, name, *path], what
    return complaint(error)


def _advice(what: str, path: list[str]) -> str:
    if what != NO_SETTING:
        return ""
    type_ = _above(path)
    known = [field.name for field in fields(type_)] if type_ else []
    close = get_close_matches(path[-1], known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are {', '.join(known)}" if known else ""


def _above(path: list[str]) -> Any:
    """Whose setting the last of the names would be."""
    if len(path) == 1:
        return Config
    if path[0] == "clusters" and path[2:3] == ["members"]:
        return ClusterMember
    return _ENTRIES.get(path[0]) if len(path) > 2 else None
