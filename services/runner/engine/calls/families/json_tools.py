"""A JSON object between tags: Hermes, most Qwens, Granite.

The family of every model whose template knows no tools, too: those are told of
it in the prompt.
"""

from services.runner.engine.calls.json_calls import call_rule, read_objects
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.syntax import Syntax, Wanted

START, END = "<tool_call>", "</tool_call>"


def _grammar(rules: Rules, wanted: Wanted) -> str:
    call = rules.any_of(call_rule(rules, tool) for tool in wanted.tools)
    section = rules.rule(rules.text(f"{wanted.start}\n"), call, rules.text(f"\n{wanted.end}"))
    return rules.many(section, rules.text("\n")) if wanted.parallel else section


SYNTAX = Syntax(section=lambda _: read_objects, grammar=_grammar)
