"""How one setting of a configuration is named: ``models/org/name/context``.

A section, then, in sections whose entries have names, the name, which may hold
slashes and dots itself, then a setting of that entry.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from proto.config import (
    Config,
    KeyConfig,
    LoadingConfig,
    ModelConfig,
    PrivacyConfig,
    ProviderConfig,
)

_ENTRIES: dict[str, Any] = {"models": ModelConfig, "keys": KeyConfig, "providers": ProviderConfig}
"""Sections of named entries that have settings of their own."""
_NAMED = ("aliases", "fallbacks", "clusters")
"""Sections of named entries that are set as a whole."""
_STRUCTS: dict[str, Any] = {
    "loading": LoadingConfig,
    "others": KeyConfig,
    "privacy": PrivacyConfig,
}

Path = tuple[str, ...]


class NoSuchSetting(ValueError):
    """The path names nothing that can be set; the message says what can."""


def path_of(said: str) -> Path:
    """Raises NoSuchSetting."""
    section, _, rest = said.strip("/").partition("/")
    if section not in Config.__struct_fields__:
        known = ", ".join(Config.__struct_fields__)
        raise NoSuchSetting(f"there is no setting {section!r}; there are {known}")
    if not rest:
        return (section,)
    if section in _ENTRIES:
        name, _, setting = rest.rpartition("/")
        is_setting = name and setting in _ENTRIES[section].__struct_fields__
        return (section, name, setting) if is_setting else (section, rest)
    if section in _STRUCTS:
        _expect(rest, _STRUCTS[section].__struct_fields__, section)
    elif section not in _NAMED:
        raise NoSuchSetting(f"{section} has no settings below it")
    return (section, rest)


def _expect(setting: str, known: tuple[str, ...], section: str) -> None:
    if setting not in known:
        raise NoSuchSetting(f"{section} has no setting {setting!r}; it has {', '.join(known)}")


def setting(path: Path, value: Any) -> Config:
    """A configuration that says this one thing. Raises msgspec.ValidationError."""
    plain = value
    for name in reversed(path):
        plain = {name: plain}
    return msgspec.convert(plain, Config)


def without(config: Config, path: Path) -> Config:
    """The configuration with nothing said at the path."""
    plain = msgspec.to_builtins(config)
    above = plain
    for name in path[:-1]:
        above = above.get(name) or {}
    above.pop(path[-1], None)
    return msgspec.convert(plain, Config)


def names_of(config: Config) -> list[str]:
    """The settings that a configuration says something of, such as ``models/org/name/context``."""
    return list(_names("", msgspec.to_builtins(config)))


def _names(above: str, plain: Any) -> Iterator[str]:
    if isinstance(plain, dict) and plain:
        for name, below in plain.items():
            yield from _names(f"{above}/{name}" if above else name, below)
    elif above:
        yield above
