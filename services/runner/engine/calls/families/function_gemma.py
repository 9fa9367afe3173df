"""``call:f{k:<escape>value<escape>,n:2}``: FunctionGemma."""

from typing import Any

from mlx_lm.tool_parsers.function_gemma import parse_tool_call

from services.runner.engine.calls.families import gemma4
from services.runner.engine.calls.families.gemma_grammar import gemma_grammar
from services.runner.engine.calls.reading import resumed
from services.runner.engine.calls.syntax import Syntax
from services.runner.engine.calls.values import argument

QUOTE = "<escape>"
_ANY: frozenset[str] = frozenset()


def value(raw: str) -> Any:
    """Lists and objects are beyond this family's parser; Gemma 4's reads them."""
    if raw.lstrip().startswith(("{", "[")):
        return gemma4.value(raw.replace(QUOTE, gemma4.QUOTE))
    return argument(lambda call, _: parse_tool_call(call), f"call:f{{k:{raw}}}", _ANY)


SYNTAX = Syntax(
    section=lambda _: resumed(gemma4.section(QUOTE, value)),
    grammar=gemma_grammar(QUOTE),
)
