"""How rank 0's word reaches the others: as collectives among those of the model's own passes.

What is said so is heard by every rank before the same pass, without a channel beside the one that
the ranks need anyway, and nobody can hear half of it: each collective is made by all or by none.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from msgspec import DecodeError

from services.runner.engine.batching.execution import PassesEnd
from services.runner.engine.group.acts import AnyAct, Rest, Step, decode, encode

HEAD_BYTES = 256
"""Of the first collective, which is enough for a plain step."""
LENGTH_BYTES = 4


class GroupLost(PassesEnd):
    """This rank and the others are not in step any more, since one is gone. What collectives yield
    from then on is nonsense.
    """

    status = os.EX_TEMPFAIL


class PassFailed(GroupLost):
    """The one that is gone is this one: a pass of its own failed in the middle."""

    status = os.EX_SOFTWARE


_OF_PEERS = ("[ring]", "[jaccl]")
"""How backends begin what they have to say of their peers."""


@contextmanager
def in_step() -> Iterator[None]:
    """A pass that all ranks make, or none. Raises GroupLost for whatever fails in it."""
    try:
        yield
    except Exception as failure:
        lost = GroupLost if str(failure).startswith(_OF_PEERS) else PassFailed
        raise lost(f"a pass failed on this rank: {failure}") from failure


class Line:
    """One rank's end of it. Used on the model's thread, inside the stream of its passes."""

    def __init__(self, group: mx.distributed.Group, wake: Callable[[], None]) -> None:
        """``wake``: lets the others know that something will be said, though they rest."""
        self.group = group
        self._wake = wake
        self._rests = False
        self._noted: deque[AnyAct] = deque()
        self.has_promised = False
        """The next word is a step and nothing else: whoever hears may have begun it."""
        self._votes: mx.array | None = None
        """How many took part in the latest step: computed with it, looked at with its tokens."""

    @property
    def size(self) -> int:
        """Ranks."""
        return int(self.group.size())

    def note(self, act: AnyAct) -> None:
        """Said with what is said next: nobody waits for it. On any thread."""
        self._noted.append(act)

    def say(self, *acts: AnyAct) -> None:
        """To be done now, after all that was noted. Returns before it is heard."""
        assert not self.has_promised, "what was promised is done before anything else"
        self._say([*self._take_notes(), *acts])

    def say_step(self, *, may_promise: bool) -> None:
        """The next token of all; and, where nothing is noted, that another will follow."""
        noted = [] if self.has_promised else self._take_notes()
        self.has_promised = may_promise and not self._noted
        self._say([*noted, Step(self.has_promised)])

    def _take_notes(self) -> list[AnyAct]:
        return [self._noted.popleft() for _ in range(len(self._noted))]

    def _say(self, acts: list[AnyAct]) -> None:
        if self._rests:
            self._rests = False
            self._wake()
        body = encode(acts)
        whole = len(body).to_bytes(LENGTH_BYTES) + body
        self._put(whole[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"))
        if len(whole) > HEAD_BYTES:
            self._put(whole[HEAD_BYTES:])

    def rest(self) -> None:
        """Nothing will be said for a while. What is said next wakes the others."""
        if not self._rests:
            self.say(Rest())
            self._rests = True

    def hear(self) -> list[AnyAct]:
        """Of any rank but the first: wait for what is to be done. Raises GroupLost."""
        return self.heard(self.listen())

    def listen(self) -> mx.array:
        """As ``hear``, in two parts: what is computed in between comes after it on every rank."""
        head = mx.distributed.all_sum(mx.zeros(HEAD_BYTES, dtype=mx.uint8), group=self.group)
        mx.async_eval(head)
        return head

    def heard(self, listened: mx.array) -> list[AnyAct]:
        """Wait for the rest of it. Raises GroupLost."""
        head = np.array(listened).tobytes()
        length = int.from_bytes(head[:LENGTH_BYTES])
        body = head[LENGTH_BYTES : LENGTH_BYTES + length]
        if length > len(body):
            body += self._get(length - len(body))
        try:
            return decode(body)
        except DecodeError as garbled:
            raise GroupLost(str(garbled)) from garbled

    def drawn(self, tokens: mx.array | None, after: mx.array) -> mx.array:
        """The tokens [rows] that the leader drew, on every rank; the others give None. Lazy.

        ``after``: what has to be computed before, so that all ranks keep to one order.
        """
        if tokens is None:
            nothing = mx.zeros(after.shape[:1], dtype=mx.uint32)
            (tokens,) = mx.depends([nothing], [after])
        own = mx.concatenate([tokens.astype(mx.uint32), mx.array([1], dtype=mx.uint32)])
        summed = mx.distributed.all_sum(own, group=self.group)
        drawn, self._votes = summed[:-1], summed[-1]
        # Begun here, the votes are known with the tokens; looked at later, after the pass that
        # comes next.
        mx.async_eval(drawn, self._votes)
        return drawn

    def take_votes(self) -> mx.array | None:
        """Of the step that is under way; None: of none."""
        votes, self._votes = self._votes, None
        return votes

    def expect(self, votes: mx.array | None) -> None:
        """All ranks took part in that step, whose tokens are known by now. Raises GroupLost.

        Backends tell nobody that a peer has gone: they finish what was pending with what was there.
        """
        if votes is not None and votes.item() != self.size:
            raise GroupLost(f"{votes.item()} of {self.size} ranks took part")

    def expect_whole(self) -> None:
        """All ranks are there, and have taken part in all until now. Raises GroupLost."""
        self.expect(mx.distributed.all_sum(mx.array(1), group=self.group))

    def of_all(self, own: list[int]) -> list[list[int]]:
        """What every rank has to say, by rank; each says as much. Raises GroupLost."""
        with in_step():
            told = mx.distributed.all_gather(mx.array([1, *own]), group=self.group)
            gathered: Any = told.tolist()
        length = len(own) + 1
        of_all = [gathered[at : at + length] for at in range(0, len(gathered), length)]
        if not all(said[0] for said in of_all):
            raise GroupLost("a rank said nothing")
        return [said[1:] for said in of_all]

    def _put(self, part: bytes) -> None:
        said = mx.array(np.frombuffer(part, dtype=np.uint8))
        mx.async_eval(mx.distributed.all_sum(said, group=self.group))

    def _get(self, count: int) -> bytes:
        heard = mx.distributed.all_sum(mx.zeros(count, dtype=mx.uint8), group=self.group)
        return np.array(heard).tobytes()
