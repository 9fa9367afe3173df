"""Which prompts are read next, and how far."""

from collections.abc import Callable
from collections.abc import Sequence as Run

from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.queueing.queue import Rank

OLDEST_EVERY = 4
"""One chunk in so many goes to the prompt that arrived first, whatever its length."""
WASTE = 0.25
"""Most padding in a batch of prompts."""
SHARED = 32
"""Prompts that agree on so many unread tokens are not read twice side by side."""


def choose(
    waiting: Run[Sequence],
    budget_of: Callable[[Sequence], int],
    turn: int,
    rank: Callable[[Sequence], Rank],
) -> tuple[list[Sequence], int]:
    """Who is read next, and how far: one prompt, or several that end in one padded batch.

    The key of the lowest rank has its turn. Of its prompts the one with the
    shortest remainder goes first, but every ``OLDEST_EVERY``-th turn is the
    oldest's: a short one never waits behind another's thousands of tokens, and
    a long one always gets its quarter. ``waiting`` is in order of arrival;
    ``budget_of`` says how many tokens a chunk may have that begins with one.
    """
    by_length = sorted(waiting, key=lambda sequence: sequence.remaining)
    lowest = min(map(rank, waiting))
    in_order = waiting if turn % OLDEST_EVERY == 0 else by_length
    first = next(sequence for sequence in in_order if rank(sequence) == lowest)
    budget = budget_of(first)
    group, openings = [first], {_opening(first)}
    if first.remaining <= budget:
        for other in by_length:
            opening = _opening(other)
            is_shared = opening is not None and opening in openings
            if other is not first and not is_shared and _fits([*group, other], budget):
                group.append(other)
                openings.add(opening)
    return group, budget


def _fits(group: list[Sequence], budget: int) -> bool:
    return (
        len(group) * max(sequence.remaining for sequence in group) <= budget
        and _is_dense([sequence.remaining for sequence in group])
        and _is_dense([len(sequence.prompt) for sequence in group])
    )


def _is_dense(lengths: list[int]) -> bool:
    return sum(lengths) >= (1 - WASTE) * max(lengths) * len(lengths)


def _opening(sequence: Sequence) -> tuple[int, ...] | None:
    """Its next tokens. Who has the same finds them in the prefix cache a chunk later."""
    if sequence.remaining <= SHARED:
        return None
    return tuple(sequence.prefix_key(sequence.prompt)[sequence.done : sequence.done + SHARED])
