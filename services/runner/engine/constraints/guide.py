"""What one answer may go on with: its budget of thinking, its format, its calls.

A guide hears every token as soon as it is drawn, before anybody else, and says
what may be drawn next. It is not asked where anything may.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llguidance import LLMatcher, LLTokenizer

from services.runner.engine.answer.splitting import NORMAL, REASONING, TOOL, Machine, Splitter
from services.runner.engine.text import Pieces


@dataclass(frozen=True)
class Demand:
    """What the next token must be: one of ``tokens``, or one that a matcher takes."""

    matchers: Sequence[LLMatcher] = ()
    tokens: Sequence[int] = ()
    barred: Sequence[int] = ()
    """Tokens that may not come, where anything else may."""

    @property
    def is_exclusive(self) -> bool:
        return not self.barred


@dataclass(frozen=True)
class Rules:
    """What a guide is to enforce."""

    machine: Machine | None = None
    """As the answer's channels are split; None: all of it is content."""
    state: str = NORMAL
    """In which the answer begins."""
    opening: tuple[int, ...] = ()
    """The marker by which the model may still open a block of thinking, before its content."""
    closing: tuple[int, ...] = ()
    budget: int | None = None
    """Most tokens of thinking."""
    content: LLMatcher | None = None
    calls: LLMatcher | None = None
    start: str = ""
    """The text that calls start with, which is part of their grammar."""
    is_binding: bool = False
    """There must be content or calls of those grammars, and they begin where ``binds_in`` does.

    Otherwise only calls are held to a grammar, once they have started.
    """
    binds_in: str = NORMAL

    @property
    def do_matter(self) -> bool:
        return self.budget is not None or self.content is not None or self.calls is not None


class Guide:
    def __init__(
        self,
        rules: Rules,
        tokenizer: LLTokenizer | None,
        pieces: Pieces,
        before: int,
        ends: Iterable[int],
        width: int,
    ) -> None:
        """``before`` is the prompt's last token, ``ends`` those that end the model's turn.

        ``tokenizer`` is needed where there are grammars.
        """
        self._rules = rules
        self._tokenizer = tokenizer
        self._ends = tuple(ends)
        self._text = pieces.detokenizer(before)
        self._splitter = Splitter(rules.machine or _UNMARKED, rules.state)
        self._latest: deque[int] = deque(maxlen=max(1, len(rules.closing)))
        self._thought = 0
        self._paths: list[LLMatcher] | None = None
        """The grammars that what was drawn agrees with, once it is held to any."""
        self._opening = rules.opening
        """What of the opening marker is still to come, while it may."""
        self.trouble: str | None = None
        """Why the answer cannot go on."""
        self.width = width
        """Tokens that a mask speaks of."""
        if rules.is_binding and rules.state == rules.binds_in:
            self._bind(rules.content, rules.calls)
        else:
            self._opening = ()

    def demand(self) -> Demand | None:
        """None: anything may come."""
        if self._paths is not None:
            return Demand(self._paths, self._opening[:1])
        if self._is_spent:
            return Demand(tokens=(self._next_of_closing(),))
        return Demand(barred=self._ends) if self._rules.is_binding else None

    def advance(self, token: int) -> None:
        """A token was drawn."""
        if token in self._ends:
            return  # Nothing will come of what this step computes.
        if self._paths is not None:
            self._narrow(token)
        else:
            self._follow(token)

    @property
    def _is_spent(self) -> bool:
        budget = self._rules.budget
        return self._splitter.state == REASONING and budget is not None and self._thought >= budget

    def _next_of_closing(self) -> int:
        """The model may have begun the marker by itself."""
        closing, latest = self._rules.closing, tuple(self._latest)
        for begun in range(len(closing) - 1, 0, -1):
            if latest[-begun:] == closing[:begun]:
                return closing[begun]
        return closing[0]

    def _follow(self, token: int) -> None:
        """Reads along, up to where a grammar begins."""
        before = self._splitter.state
        self._latest.append(token)
        segments = self._splitter.push(self._text.push(token))
        state = self._splitter.state
        if state == before:
            self._thought += state == REASONING
        elif state == TOOL and self._rules.calls is not None:
            self._bind(None, self._rules.calls)
            self._feed(self._rules.start + segments[-1][1] + self._splitter.held)
        elif state == self._rules.binds_in and self._rules.is_binding:
            self._bind(self._rules.content, self._rules.calls)
            self._feed(segments[-1][1] + self._splitter.held)

    def _bind(self, *grammars: LLMatcher | None) -> None:
        self._paths = [grammar.deep_copy() for grammar in grammars if grammar is not None]

    def _feed(self, text: str) -> None:
        """What came in one token with the marker before it."""
        assert self._tokenizer is not None, "whoever has grammars has their tokenizer"
        if text:
            for token in self._tokenizer.tokenize_str(text, parse_special=True):
                self._narrow(token)

    def _narrow(self, token: int) -> None:
        assert self._paths is not None, "only a bound answer has paths"
        is_opening = self._opening[:1] == (token,)
        self._opening = self._opening[1:] if is_opening else ()
        if is_opening and not self._opening:
            self._paths = None
            self._splitter = Splitter(self._rules.machine or _UNMARKED, REASONING)
            return
        self._paths = [path for path in self._paths if path.try_consume_tokens([token])]
        if not self._paths and not is_opening:
            self.trouble = self.trouble or "its grammar does not take the token that was drawn"


_UNMARKED = Machine({})
