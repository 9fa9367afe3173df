"""Strings that a family writes without quotes, up to a tag: as terminals of a grammar."""

import re
from collections.abc import Sequence
from functools import lru_cache

from llguidance import LLMatcher

from proto.prompt import Tool
from services.runner.engine.calls.lark import Rules, check_range, quoted, refusal
from services.runner.engine.calls.schema import Schema

_ANYTHING = "/(?s:.*)/"
_NULL = r"/(?is:\s*(<!\[CDATA\[)?\s*null\s*(\]\]>)?\s*)/"
"""What parsers take for no text at all."""
_TRIMMED = r"/(?s:(\S(.*\S)?)?)/"
_UNIT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""A part of a regular expression that is looked at as one: an escape, a class, a character."""


def texts_until(
    rules: Rules,
    tool: Tool,
    schemas: Sequence[Schema],
    close: str,
    *,
    gap: str = "",
    taboo: Sequence[str] = (),
    is_verbatim: bool = False,
) -> str:
    """A string that satisfies one of the schemas, and the tag that closes it.

    ``gap`` may stand around a string of which the schema wants something, and
    ``taboo`` in none. A verbatim string is not trimmed and never taken for null.
    """
    choices = []
    for schema in schemas:
        known, wanted = _known(schema), _wanted(tool, schema)
        if known is None:
            body = _body(wanted, [close, *taboo], is_verbatim=is_verbatim)
        else:
            body = " | ".join(map(quoted, known))
        around = gap if known or wanted else ""
        choices.append(_closed(rules, body, around, close))
    return rules.any_of(choices)


def _known(schema: Schema) -> list[str] | None:
    """The only texts there are, if the schema lists them."""
    if schema.get("type") == "null":
        return ["null"]
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return ["null" if value is None else str(value) for value in values]


def _closed(rules: Rules, body: str, gap: str, close: str) -> str:
    # Of two terminals the longer wins, so nothing that may also be text is one of its own.
    may_gap = f"{quoted(gap)}?" if gap else ""
    body = f"{may_gap} ({body}) {may_gap}"
    if rules.is_token(close):
        return rules.rule(rules.terminal(body), rules.text(close))
    return rules.terminal(f"{body} {quoted(close)}")


def _body(wanted: list[str], taboo: Sequence[str], *, is_verbatim: bool) -> str:
    parts = [_ANYTHING, *wanted]
    parts += [f"~({_ANYTHING} {quoted(text)} {_ANYTHING})" for text in dict.fromkeys(taboo) if text]
    if not is_verbatim:
        parts.append(f"~{_NULL}")
        parts += [_TRIMMED] if wanted else []
    return " & ".join(parts)


def _wanted(tool: Tool, schema: Schema) -> list[str]:
    """What the schema wants of the string. A ``format`` is not enforced here."""
    least, most = schema.get("minLength"), schema.get("maxLength")
    wanted = []
    check_range(tool, least, most)
    if isinstance(least, int) or isinstance(most, int):
        wanted.append(f"/(?s:.{{{least or 0},{'' if most is None else most}}})/")
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        expression = _searched(pattern)
        if expression is not None:
            wanted.append(expression)
        elif tool.strict:
            raise refusal(tool, f"regex parse error in pattern {pattern!r}")
    return wanted


@lru_cache(maxsize=1024)
def _searched(pattern: str) -> str | None:
    """A terminal of texts in which the pattern is found; None for one that cannot be enforced."""
    units = _UNIT.findall(pattern)
    begins, ends = units[:1] == ["^"], units[-1:] == ["$"]
    inner = units[begins : len(units) - ends]
    if "^" in inner or "$" in inner or ((begins or ends) and "|" in _outside_groups(inner)):
        return None
    escaped = "".join("\\/" if unit == "/" else unit.replace("\n", "\\n") for unit in inner)
    expression = f"/(?:{escaped})/"
    around = [_ANYTHING] * (not begins), [_ANYTHING] * (not ends)
    grammar = f"start: X\nX: {expression}"
    if LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar)):
        return None
    return f"({' '.join([*around[0], expression, *around[1]])})"


def _outside_groups(units: Sequence[str]) -> list[str]:
    depth, outside = 0, []
    for unit in units:
        depth += (unit == "(") - (unit == ")")
        outside += [] if depth else [unit]
    return outside
