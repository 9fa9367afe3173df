"""Which syntax of calls a model was trained on."""

from collections.abc import Callable, Sequence

from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.inference import Tool
from services.runner.engine.calls.families import (
    function_gemma,
    gemma4,
    glm47,
    json_tools,
    kimi_k2,
    kimi_k3,
    longcat,
    minicpm5,
    minimax_m2,
    mistral,
    muse_spark,
    pythonic,
    qwen3_coder,
)
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.reading import Reader, Section, SectionReader, resumed
from services.runner.engine.calls.tagged import TaggedReader, Tags
from services.runner.engine.calls.writing import CallText

__all__ = ["CallText", "Family", "Reader", "family_of"]

Sections = Callable[[Sequence[Tool]], Section]


def _always(section: Section) -> Sections:
    return lambda _: section


def _tagged(tags: Tags) -> Sections:
    return lambda tools: resumed(TaggedReader(tags, tools).read)


_SECTIONS: dict[str, Sections] = {
    "json_tools": _always(json_tools.read),
    "mistral": _always(mistral.read),
    "kimi_k2": _always(resumed(kimi_k2.read)),
    "kimi_k3": _tagged(kimi_k3.TAGS),
    "qwen3_coder": _tagged(qwen3_coder.TAGS),
    "glm47": glm47.section,
    "laguna": glm47.section,
    "longcat": longcat.section,
    "minimax_m2": _tagged(minimax_m2.TAGS),
    "minicpm5": lambda tools: TaggedReader(minicpm5.TAGS, tools).read,
    "gemma4": _always(resumed(gemma4.section(gemma4.QUOTE, gemma4.value))),
    "function_gemma": _always(resumed(gemma4.section(function_gemma.QUOTE, function_gemma.value))),
    "pythonic": _always(pythonic.read),
    "muse_spark": _tagged(muse_spark.TAGS),
}


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
        return SectionReader(_SECTIONS[self.name](tools))

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
