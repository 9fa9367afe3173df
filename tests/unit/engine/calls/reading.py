"""Readers as an engine drives them, and what mlx-lm's own parsers say of the same text."""

import importlib
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from proto.ids import RequestId
from proto.prompt import Tool
from services.runner.engine.calls.family import CallText, Family
from services.runner.engine.calls.schema import function
from tests.unit.engine.calls.families import FAMILIES, Call

TOOLS = (
    Tool(
        name="get_weather",
        description="The weather in a city.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "note": {"type": ["string", "null"]},
                "days": {"type": "integer"},
                "factor": {"type": "number"},
                "exact": {"type": "boolean"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "area": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "size": {"type": "number"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
                "hours": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
    ),
    Tool(name="now", parameters={"type": "object", "properties": {}}),
)


def family(name: str) -> Family:
    written = FAMILIES[name]
    return Family(name, written.start, written.end)


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(at)]


class Heard:
    """What came of an answer's sections."""

    def __init__(self, name: str, tools: Sequence[Tool] = TOOLS) -> None:
        self.reader = family(name).reader(tools, RequestId("r"))
        self.said: list[CallText] = []
        self._has_end = bool(FAMILIES[name].end)

    def push(self, *texts: str) -> "Heard":
        for text in texts:
            self.said += self.reader.push(text)
        return self

    def section(self, *texts: str) -> "Heard":
        """A whole one; in a family without an end marker the answer's last."""
        self.push(*texts)
        return self.end() if self._has_end else self.cut()

    def end(self) -> "Heard":
        self.said += self.reader.end_section()
        return self

    def cut(self) -> "Heard":
        self.said += self.reader.finish()
        return self

    @property
    def raw(self) -> list[tuple[str, str]]:
        """Names and arguments as they were written, after a check of the order of things."""
        calls: list[list[str]] = []
        for said in self.said:
            is_first = said.call == len(calls)
            assert is_first == bool(said.name) == bool(said.id)
            assert said.call == len(calls) - (not is_first)
            calls.append(["", ""]) if is_first else None
            calls[-1][0] += said.name
            calls[-1][1] += said.arguments
        assert self.reader.calls == len(calls)
        return [(name, arguments) for name, arguments in calls]

    @property
    def calls(self) -> list[Call]:
        return [(name, json.loads(arguments)) for name, arguments in self.raw]

    @property
    def ids(self) -> list[str]:
        return [said.id for said in self.said if said.id]


def mlx_calls(name: str, section: str, tools: Sequence[Tool] = TOOLS) -> list[Call]:
    parser = importlib.import_module(f"mlx_lm.tool_parsers.{name}").parse_tool_call
    said: Any = parser(section, list(map(function, tools)))
    return [
        (call["name"], call["arguments"]) for call in (said if isinstance(said, list) else [said])
    ]
