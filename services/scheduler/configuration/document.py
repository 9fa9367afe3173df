"""A YAML document that knows at which line everything in it stands."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

NO_SETTING = "there is no such setting"


class NotConfig(Exception):
    """The text makes no sense; the message has the line and what to do about it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        """From 1."""


class Document(Struct, frozen=True):
    plain: Any
    """What it says; None for an empty one."""
    root: Any = None

    def wrong(self, path: Sequence[str], problem: str) -> NotConfig:
        """What is wrong at names, and places in lists, that lead there from the root."""
        where = f"`{'.'.join(path)}`: " if path else ""
        return NotConfig(self._line(path), f"{where}{problem[:1].lower()}{problem[1:]}")

    def _line(self, path: Sequence[str]) -> int:
        if self.root is None:
            return 1
        node, line = self.root, _line(self.root)
        for name in path:
            found = next(((at, below) for key, at, below in _entries(node) if key == name), None)
            if found is None:
                break
            at, node = found
            line = _line(at)
        return line


def read(text: str) -> Document:
    """Raises NotConfig for what is no YAML, or says something twice."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Document(None)
        _expect_names_once(root)
        return Document(loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotConfig(mark.line + 1 if mark else 1, f"no YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise NotConfig(1, f"no YAML: {error}") from error
    finally:
        loader.dispose()


def complaint(error: msgspec.ValidationError) -> tuple[list[str], str]:
    """The sentence of msgspec taken apart: where below the value that was looked at, and what."""
    what, _, place = str(error).partition(" - at ")
    steps = place.strip("`").removeprefix("$").replace("[", ".").replace("]", "")
    path = [part for part in steps.split(".") if part]
    if "unknown field" in what:
        path.append(what.split("`")[1])
        what = NO_SETTING
    cause = error.__cause__
    return [*path, *getattr(cause, "path", ())], what


def _expect_names_once(node: Node) -> None:
    """YAML would silently take the last one."""
    seen: dict[str, int] = {}
    for name, at, below in _entries(node):
        if name in seen:
            raise NotConfig(_line(at), f"`{name}` stands at line {seen[name]} already; keep one")
        seen[name] = _line(at)
        _expect_names_once(below)


def _entries(node: Node) -> Iterator[tuple[str, Node, Node]]:
    """By name, or by place in a list: the node where it begins, and its value."""
    if isinstance(node, MappingNode):
        yield from ((k.value, k, v) for k, v in node.value if isinstance(k, ScalarNode))
    elif isinstance(node, SequenceNode):
        yield from ((str(at), below, below) for at, below in enumerate(node.value))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
