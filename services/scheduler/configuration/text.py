"""From the text of ``odyssai.yaml`` to a layer of configuration, or the line that is wrong."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec
import yaml
from msgspec.structs import fields
from yaml.nodes import MappingNode, Node, ScalarNode

from proto.config import Config, KeyConfig, ModelConfig
from proto.ids import ModelId

_ENTRIES: dict[str, Any] = {"aliases": ModelId, "models": ModelConfig, "keys": KeyConfig}
"""Sections whose keys are names of the operator's: msgspec does not say which of them is wrong."""


class NotConfig(Exception):
    """The text is no configuration; the message has the line and what to do about it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        """From 1."""


def parse(text: str) -> Config:
    """Raises NotConfig."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Config()
        _expect_names_once(root)
        plain = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotConfig(mark.line + 1 if mark else 1, f"no YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise NotConfig(1, f"no YAML: {error}") from error
    finally:
        loader.dispose()
    if isinstance(plain, dict):
        # A section with nothing below it says nothing.
        plain = {name: below for name, below in plain.items() if below is not None}
    try:
        return msgspec.convert({} if plain is None else plain, Config)
    except msgspec.ValidationError as error:
        raise _located(root, plain, error) from error


def _expect_names_once(node: Node) -> None:
    """YAML would silently take the last one."""
    seen: dict[str, int] = {}
    for key, below in _entries(node):
        if key.value in seen:
            raise NotConfig(
                _line(key), f"`{key.value}` stands at line {seen[key.value]} already; keep one"
            )
        seen[key.value] = _line(key)
        _expect_names_once(below)


def _located(root: Node, plain: Any, error: msgspec.ValidationError) -> NotConfig:
    path, what = _blame(plain, error)
    node, line = root, _line(root)
    for name in path:
        found = next(((k, v) for k, v in _entries(node) if k.value == name), None)
        if found is None:
            break
        key, node = found
        line = _line(key)
    where = f"`{'.'.join(path)}`: " if path else ""
    return NotConfig(line, f"{where}{what[:1].lower()}{what[1:]}{_advice(what, path)}")


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
                path, what = _split(str(own))
                return [section, name, *path], what
    return _split(str(error))


def _split(complaint: str) -> tuple[list[str], str]:
    """The sentence of msgspec taken apart: what, and where below the value that was looked at."""
    what, _, place = complaint.partition(" - at ")
    path = [part for part in place.strip("`").removeprefix("$").split(".") if part]
    if "unknown field" in what:
        path.append(what.split("`")[1])
        what = "there is no such setting"
    return path, what


def _advice(what: str, path: list[str]) -> str:
    if what != "there is no such setting":
        return ""
    above = _ENTRIES.get(path[0]) if len(path) > 2 else None
    type_: Any = above or (Config if len(path) == 1 else None)
    known = [field.name for field in fields(type_)] if type_ else []
    close = get_close_matches(path[-1], known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are {', '.join(known)}" if known else ""


def _entries(node: Node) -> Iterator[tuple[ScalarNode, Node]]:
    if isinstance(node, MappingNode):
        yield from ((key, value) for key, value in node.value if isinstance(key, ScalarNode))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
