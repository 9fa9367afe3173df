"""``<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>``: gpt-oss.

mlx-lm does not mark this family. The recipient stands in the message's header,
before the channel or behind it; a call ends the model's turn.
"""

import re

from mlx_lm.tokenizer_utils import TokenizerWrapper

from services.runner.engine.calls.json_calls import read_arguments
from services.runner.engine.calls.lark import Rules
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.text import Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls

NAME = "harmony"
START, END, CALL = "<|start|>", "<|end|>", "<|call|>"
CHANNEL, MESSAGE, CONSTRAIN = "<|channel|>", "<|message|>", "<|constrain|>"
ENDS = (END, CALL, START, "<|return|>")
"""What ends a message; a header follows, if anything does."""
TURN = f"{START}assistant"
THINKS = "analysis" + MESSAGE
SAYS = f"{CHANNEL}final{MESSAGE}"
SECTION = " to=functions."
_FUNCTION = re.compile(r"[\w.-]+")


def is_spoken(tokenizer: TokenizerWrapper) -> bool:
    vocabulary = tokenizer.get_vocab()
    return all(marker in vocabulary for marker in (START, END, CALL, CHANNEL, MESSAGE))


def read(text: Text, calls: Calls) -> Steps[None]:
    text.expect()
    header, _ = yield from text.upto(MESSAGE)
    named = _FUNCTION.match(header)
    if named is None:
        raise Malformed
    text.found()
    calls.begin(named.group())
    yield from read_arguments(text, calls)


def _grammar(rules: Rules, wanted: Wanted) -> str:
    """One call: its end ends the answer. Of the header, what was written already may be missing."""
    opened = f"({rules.text(TURN)})?"
    channel = f"({rules.text(CHANNEL)} ({rules.text('commentary')} | {rules.text('analysis')}))?"
    space = f"({rules.text(' ')})?"
    kind = f"({rules.text(CONSTRAIN)})? ({rules.text('json')})?"
    before = rules.rule(opened, channel, rules.text(SECTION))
    after = rules.rule(space, channel, space, kind, rules.text(MESSAGE))
    return rules.any_of(
        rules.rule(before, rules.text(tool.name), after, rules.arguments(tool))
        for tool in wanted.tools
    )


SYNTAX = Syntax(section=lambda _: read, grammar=_grammar)
