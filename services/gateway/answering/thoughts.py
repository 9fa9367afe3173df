"""The blocks of an answer's thinking, while they arrive."""

from proto.frames import Delta
from proto.prompt import Thought, kept


class Thoughts:
    def __init__(self) -> None:
        self._made: list[Thought] = []
        self._open: list[str] = []

    def add(self, frame: Delta) -> None:
        """One of the channel of reasoning."""
        if frame.text:
            self._open.append(frame.text)
        if frame.signature:
            self._end(frame.signature)
        if frame.sealed:
            self._end()
            self._made.append(Thought(sealed=frame.sealed))

    def made(self) -> tuple[Thought, ...]:
        """None where nobody signed any: then there are no blocks to speak of."""
        self._end()
        return kept(self._made)

    def _end(self, signature: str = "") -> None:
        if self._open or signature:
            self._made.append(Thought(text="".join(self._open), signature=signature))
        self._open.clear()
