"""Who has to give way to whom, when slots or KV memory are short."""

from collections.abc import Collection, Iterable

from services.runner.engine.batching.sequence import Sequence


def last_first(running: Iterable[Sequence]) -> list[Sequence]:
    """In the order in which they give way: batch work, then of the key that had most for its
    weight, then the youngest.
    """
    return sorted(
        running,
        key=lambda s: (s.priority == "batch", s.share.served, s.admitted_at),
        reverse=True,
    )


def giving_way(
    newcomer: Sequence, running: Collection[Sequence], at_once: int, slots: int, tokens: int
) -> list[Sequence]:
    """Those that make room for a newcomer who lacks so many slots and tokens.

    Empty when even all that may would not be enough. Batch work gives way to anything
    interactive, unless it was its turn. Beyond that only a key that runs more than is
    anybody's at once gives way, to a key that does not.
    """
    left = {s.share: s.share.running for s in running}
    chosen: list[Sequence] = []
    for sequence in last_first(s for s in running if _yields(s, newcomer, at_once)):
        if _is_lesser(sequence, newcomer) or left[sequence.share] > at_once:
            chosen.append(sequence)
            left[sequence.share] -= 1
            slots, tokens = slots - 1, tokens - sequence.claim
        if slots <= 0 and tokens <= 0:
            return chosen
    return []


def _yields(sequence: Sequence, newcomer: Sequence, at_once: int) -> bool:
    if _is_lesser(sequence, newcomer):
        return True
    is_entitled = newcomer.share.running < at_once and sequence.share is not newcomer.share
    return is_entitled and sequence.priority == newcomer.priority


def _is_lesser(sequence: Sequence, newcomer: Sequence) -> bool:
    is_batch = sequence.priority == "batch" and not sequence.is_due
    return is_batch and newcomer.priority != "batch"
