"""Lines of known clients that change with every request and mean nothing to the model.

A prefix cache finds what a prompt shares with an earlier one from its first
token on. One such line at the top, and nothing is ever shared: every request
reads its whole prompt again.
"""

import re
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.asked import Asked
from proto.prompt import Chat, Prompt, TextPart, Turn


class VolatileLine(Struct, frozen=True):
    name: str
    """What it is called in ``x-odyssai-ignored``."""
    client: str
    pattern: re.Pattern[str]
    """The whole line, its end included. Of the system prompt only."""
    why: str
    """What changes in it, and why the model can do without."""


VOLATILE = (
    VolatileLine(
        name="x-anthropic-billing-header",
        client="Claude Code 2.1.15 and newer",
        pattern=re.compile(r"^x-anthropic-billing-header:[^\n]*\n?", re.MULTILINE),
        why="The vendor's server takes it out of the system prompt to know which program asks; "
        "`cch` and the end of `cc_version` are made anew from every request.",
    ),
)
"""A date, or a time that the model is told, is none: it means something, if only to the answer."""


def steadied(asked: Asked) -> Asked:
    """Without volatile lines, and telling which were there."""
    found = sorted({line.name for prompt in asked.prompts for line in _lines_in(prompt)})
    if not found:
        return asked
    prompts = tuple(map(steady, asked.prompts))
    return replace(asked, prompts=prompts, ignored=(*asked.ignored, *found))


def steady(prompt: Prompt) -> Prompt:
    """The prompt without volatile lines; a system prompt of nothing else is gone."""
    lines = list(_lines_in(prompt))
    if not lines:
        return prompt
    assert isinstance(prompt, Chat)
    turns = [_without(turn, lines) if turn.role == "system" else turn for turn in prompt.turns]
    kept = (turn for turn in turns if turn.role != "system" or turn.content)
    return replace(prompt, turns=tuple(kept))


def _lines_in(prompt: Prompt) -> Iterator[VolatileLine]:
    if isinstance(prompt, Chat):
        systems = [turn.text for turn in prompt.turns if turn.role == "system"]
        yield from (line for line in VOLATILE if any(map(line.pattern.search, systems)))


def _without(turn: Turn, lines: list[VolatileLine]) -> Turn:
    if isinstance(turn.content, str):
        return replace(turn, content=_cut(turn.content, lines))
    parts = (
        replace(part, text=_cut(part.text, lines)) if isinstance(part, TextPart) else part
        for part in turn.content
    )
    return replace(turn, content=tuple(parts))


def _cut(text: str, lines: list[VolatileLine]) -> str:
    for line in lines:
        text = line.pattern.sub("", text)
    return text
