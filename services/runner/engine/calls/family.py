"""A placeholder with the interface of branch `tools`, which replaces it."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.inference import Tool


class CallText(NamedTuple):
    call: int
    id: str
    name: str
    arguments: str


class Reader:
    def __init__(self, tools: "Sequence[Tool]") -> None:
        self.calls = 0
        self._text = ""

    def push(self, text: str) -> list[CallText]:
        self._text += text
        return []

    def end_section(self) -> list[CallText]:
        text, self._text = self._text.strip(), ""
        try:
            call = json.loads(text)
            made = CallText(
                self.calls, f"call_{self.calls}", call["name"], json.dumps(call["arguments"])
            )
        except (ValueError, KeyError, TypeError):
            if not text:
                return []
            made = CallText(self.calls, f"call_{self.calls}", "?", text)
        self.calls += 1
        return [made]

    def finish(self) -> list[CallText]:
        return self.end_section()


class Family:
    name = "json"
    start = "<tool_call>"
    end = "</tool_call>"

    def reader(self, tools: "Sequence[Tool]") -> Reader:
        return Reader(tools)

    def grammar(
        self, tools: "Sequence[Tool]", *, parallel: bool, literal: Callable[[str], str]
    ) -> str:
        one = " | ".join(f"call{i}" for i in range(len(tools)))
        rules = [f"calls: call{' (NL call)*' if parallel else ''}", f"call: {one}", r"NL: /\n/"]
        for i, tool in enumerate(tools):
            schema = {
                "type": "object",
                "properties": {
                    "name": {"const": tool.name},
                    "arguments": tool.parameters or {"type": "object"},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            rules.append(
                f"call{i}: {literal(self.start)} NL %json {json.dumps(schema)} NL "
                f"{literal(self.end)}"
            )
        return "\n".join(rules) + "\n"


def family_of(tokenizer: TokenizerWrapper) -> Family:
    return Family()
