"""How a model marks what it thinks, what it calls and what it says."""

from collections.abc import Sequence
from functools import cached_property

from mlx_lm.tokenizer_utils import TokenizerWrapper

from services.runner.engine.calls.family import Family
from services.runner.engine.splitting import NORMAL, REASONING, TOOL, Edges, Machine

OPENED_WITHIN = 16
"""A template that opens or closes a block of thinking does so in its last few tokens."""


class Markup:
    """One model's markers. Without any, all of its text is content."""

    def __init__(self, tokenizer: TokenizerWrapper, family: Family) -> None:
        self._tokenizer = tokenizer
        self.reasons: bool = tokenizer.has_thinking
        self.opening: str = tokenizer.think_start or ""
        """Opens a block of thinking, and ``closing`` ends it."""
        self.closing: str = tokenizer.think_end or ""
        self.closing_tokens = tuple(tokenizer.think_end_tokens or ())
        self.opening_tokens = tuple(tokenizer.think_start_tokens or ())
        self._first: str = tokenizer.response_initial_state or NORMAL
        self.family = family

    def machine(self, *, calls: bool) -> Machine | None:
        """None where there is nothing to look for. Calls are marked only where they may be made."""
        machine = self._with_calls if calls else self._without_calls
        return machine if machine.has_markers else None

    def begins(self, prompt: Sequence[int], prefill: str | None) -> str:
        """The state in which the answer to a prompt begins.

        ``prefill`` is what the answer continues, None if it starts anew. Where a
        template opens the block of thinking itself, nothing but space follows the
        marker; a marker that somebody speaks of further up does not count.
        """
        if prefill is not None:
            is_open = self.reasons and prefill.rfind(self.opening) > prefill.rfind(self.closing)
            return REASONING if is_open else NORMAL
        if self.reasons and self._ends_with(prompt, self.opening_tokens):
            return REASONING
        return self._first

    def is_closed(self, prompt: Sequence[int]) -> bool:
        """The template has ended the thinking before it began."""
        return self.reasons and self._ends_with(prompt, self.closing_tokens)

    def _ends_with(self, prompt: Sequence[int], marker: tuple[int, ...]) -> bool:
        tail = list(prompt[-OPENED_WITHIN:])
        for at in range(len(tail) - len(marker), -1, -1):
            if tuple(tail[at : at + len(marker)]) == marker:
                return not str(self._tokenizer.decode(tail[at + len(marker) :])).strip()
        return False

    @cached_property
    def _without_calls(self) -> Machine:
        return Machine(_edges(self._tokenizer))

    @cached_property
    def _with_calls(self) -> Machine:
        edges = _edges(self._tokenizer)
        for state in _callers(self._tokenizer):
            edges.setdefault(state, []).append((self.family.start, TOOL))
        if self.family.end:
            edges.setdefault(TOOL, []).append((self.family.end, NORMAL))
        return Machine(edges)


def _edges(tokenizer: TokenizerWrapper) -> Edges:
    """All but those around calls."""
    edges: Edges = {NORMAL: [(marker, NORMAL) for marker in tokenizer.structural_markers]}
    if tokenizer.has_thinking:
        edges[NORMAL].append((tokenizer.think_start, REASONING))
        # A model may repeat the marker that its template has opened the block with.
        edges[REASONING] = [(tokenizer.think_end, NORMAL), (tokenizer.think_start, REASONING)]
    for state, ends in tokenizer.response_transitions.items():
        edges.setdefault(state, []).extend(end for end in ends if end[1] != TOOL)
    return edges


def _callers(tokenizer: TokenizerWrapper) -> list[str]:
    """The states in which a call may begin."""
    named = [
        state
        for state, ends in tokenizer.response_transitions.items()
        if any(target == TOOL for _, target in ends)
    ]
    return named or ([NORMAL, REASONING] if tokenizer.has_thinking else [NORMAL])
