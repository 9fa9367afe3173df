"""How a model marks what it thinks, what it calls and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.prompt import Effort
from services.runner.engine.answer.splitting import HEADER, NORMAL, REASONING, TOOL, Edges, Machine
from services.runner.engine.calls.families import harmony
from services.runner.engine.calls.family import Family

OPENED_WITHIN = 16
"""A template that opens the block of thinking does so in its last few tokens."""


@dataclass(frozen=True)
class Markup:
    """One model's markers. Without any, all of its text is content."""

    edges: Edges
    """Those that are markers always."""
    call_edges: Edges
    """Those around calls, which are markers only where calls may be made."""
    opening: str = ""
    """Opens a block of thinking, and ``closing`` ends it; empty for a model that has none."""
    closing: str = ""
    first: str = NORMAL
    """The state in which an answer begins, unless the prompt's end tells another."""
    content_header: str = ""
    """What a model with headers writes before its content."""
    efforts: tuple[Effort, ...] = ()
    """Those that the model was trained on, where that is known."""

    @property
    def reasons(self) -> bool:
        return bool(self.closing)

    @property
    def binds_in(self) -> str:
        """Where a grammar of content or calls begins: headers are part of it."""
        return HEADER if self.content_header else NORMAL

    def machine(self, *, calls: bool) -> Machine | None:
        """None where there is nothing to look for."""
        machine = self._with_calls if calls else self._without_calls
        return machine if machine.has_markers else None

    def begins(
        self, tokenizer: TokenizerWrapper, prompt: Sequence[int], prefill: str | None
    ) -> str:
        """The state in which the answer to a prompt begins.

        ``prefill`` is what the answer continues, None if it starts anew. A template
        may open the block of thinking itself, at the prompt's very end; a marker
        that somebody speaks of further up does not count.
        """
        if prefill is not None:
            is_open = self.reasons and prefill.rfind(self.opening) > prefill.rfind(self.closing)
            return REASONING if is_open else NORMAL
        return REASONING if _is_open(tokenizer, prompt) else self.first

    @cached_property
    def _without_calls(self) -> Machine:
        return Machine(self.edges)

    @cached_property
    def _with_calls(self) -> Machine:
        states = {*self.edges, *self.call_edges}
        return Machine({s: [*self.edges.get(s, []), *self.call_edges.get(s, [])] for s in states})


def markup_of(tokenizer: TokenizerWrapper, family: Family) -> Markup:
    if harmony.is_spoken(tokenizer):
        return _harmony(family)
    return Markup(
        _edges(tokenizer),
        _call_edges(tokenizer, family),
        tokenizer.think_start or "",
        tokenizer.think_end or "",
        tokenizer.response_initial_state or NORMAL,
    )


def _edges(tokenizer: TokenizerWrapper) -> Edges:
    edges: Edges = {NORMAL: [(marker, NORMAL) for marker in tokenizer.structural_markers]}
    if tokenizer.has_thinking:
        start, end = tokenizer.think_start, tokenizer.think_end
        # What the template or the engine opened or closed, a model may open or close once more.
        edges[NORMAL] += [(start, REASONING), (end, NORMAL)]
        edges[REASONING] = [(end, NORMAL), (start, REASONING)]
    for state, ends in tokenizer.response_transitions.items():
        edges.setdefault(state, []).extend(end for end in ends if end[1] != TOOL)
    return edges


def _call_edges(tokenizer: TokenizerWrapper, family: Family) -> Edges:
    callers = [
        state
        for state, ends in tokenizer.response_transitions.items()
        if any(target == TOOL for _, target in ends)
    ]
    edges: Edges = {state: [(family.start, TOOL)] for state in callers or (NORMAL, REASONING)}
    if family.end:
        edges[TOOL] = [(family.end, NORMAL)]
    return edges


def _harmony(family: Family) -> Markup:
    """gpt-oss: messages with headers, in which a channel and a recipient are named."""
    ends = [(marker, HEADER) for marker in harmony.ENDS]
    return Markup(
        {
            HEADER: [(harmony.THINKS, REASONING), (harmony.MESSAGE, NORMAL)],
            REASONING: [*ends, (harmony.CHANNEL, HEADER)],
            NORMAL: [*ends, (harmony.CHANNEL, HEADER)],
        },
        {HEADER: [(family.start, TOOL)], TOOL: ends},
        opening=harmony.CHANNEL + harmony.THINKS,
        closing=harmony.END,
        first=HEADER,
        content_header=harmony.SAYS,
        efforts=("low", "medium", "high"),
    )


def _is_open(tokenizer: TokenizerWrapper, prompt: Sequence[int]) -> bool:
    """The last turn, as far as the template wrote it, ends inside a block of thinking."""
    if not tokenizer.has_thinking:
        return False
    tail = list(prompt[-OPENED_WITHIN:])
    ends = [at for at, token in enumerate(tail) if token in tokenizer.eos_token_ids]
    turn = tail[ends[-1] + 1 :] if ends else tail
    return bool(tokenizer.rfind_think_start(turn) > tokenizer.rfind_think_end(turn))
