"""Which syntax of calls a model was trained on."""

from collections.abc import Callable, Sequence

from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.inference import Tool
from services.runner.engine.calls.families import json_tools
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.reading import Reader, SectionReader
from services.runner.engine.calls.writing import CallText

__all__ = ["CallText", "Family", "Reader", "family_of"]


class Family:
    """A syntax of calls, with what one model's tokenizer says of its markers."""

    def __init__(self, name: str, start: str, end: str) -> None:
        self.name = name
        """mlx-lm's ``tool_parser_type``."""
        self.start = start
        """The text that begins a section of calls."""
        self.end = end
        """The text that ends it; empty when it lasts to the end of the answer."""

    def reader(self, tools: Sequence[Tool]) -> Reader:
        return SectionReader(json_tools.read)

    def grammar(
        self, tools: Sequence[Tool], *, parallel: bool, literal: Callable[[str], str]
    ) -> str:
        """Lark rules, in llguidance's dialect, of which ``calls`` is what an answer may call.

        That is one call of a tool given, or with ``parallel`` one or more, with
        the markers around it and arguments that satisfy the tool's schema.
        ``literal`` says how a text is written in Lark, its special tokens by
        number. MeshError for a tool whose schema cannot be enforced.
        """
        rules = Rules(literal)
        return rules.source(
            json_tools.grammar(rules, tools, self.start, self.end, parallel=parallel)
        )


def family_of(tokenizer: TokenizerWrapper) -> Family:
    """The model's own family; json_tools for one whose template knows no tools."""
    return Family("json_tools", "<tool_call>", "</tool_call>")
