"""How a model marks what it thinks, what it calls and what it says."""

from collections.abc import Sequence
from functools import cached_property

from mlx_lm.tokenizer_utils import TokenizerWrapper

from services.runner.engine.calls.family import Family
from services.runner.engine.splitting import NORMAL, REASONING, TOOL, Edges, Machine

OPENED_WITHIN = 16
"""A template that opens the block of thinking does so in its last few tokens."""


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

        ``prefill`` is what the answer continues, None if it starts anew. A template
        may open the block of thinking itself, at the prompt's very end; a marker
        that somebody speaks of further up does not count.
        """
        if prefill is not None:
            is_open = self.reasons and prefill.rfind(self.opening) > prefill.rfind(self.closing)
            return REASONING if is_open else NORMAL
        return REASONING if self._is_open(prompt) else self._first

    def _is_open(self, prompt: Sequence[int]) -> bool:
        """The last turn, as far as the template wrote it, ends inside a block."""
        if not self.reasons:
            return False
        tail = list(prompt[-OPENED_WITHIN:])
        ends = [at for at, token in enumerate(tail) if token in self._tokenizer.eos_token_ids]
        turn = tail[ends[-1] + 1 :] if ends else tail
        tokenizer = self._tokenizer
        return bool(tokenizer.rfind_think_start(turn) > tokenizer.rfind_think_end(turn))

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
        # A block that was closed for the model may be closed by it once more.
        edges[NORMAL] += [(tokenizer.think_start, REASONING), (tokenizer.think_end, NORMAL)]
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
