"""How far an answer is on its way to a client: what another engine has to know to go on with it."""

import time
from collections.abc import Iterable

from msgspec.structs import replace

from proto.frames import AnyFrame, CallDelta, Chunk, Delta, End, Progress
from proto.generation import Continuation


class Delivered:
    """What was handed on of an answer, whichever engines said it."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._frames = 0
        """Since the last token came, its own first one included."""
        self._cached_tokens: int | None = None
        self._since: float | None = None
        """When the present engine's first part of it came."""
        self._decoded_s = 0.0
        """How long those before were at it."""

    def add(self, frames: Iterable[AnyFrame]) -> bool:
        """True when there was anything of the answer among them."""
        is_said = False
        for frame in frames:
            if isinstance(frame, Delta | CallDelta):
                if frame.tokens:
                    self._tokens += frame.tokens
                    self._frames = 0
                self._frames += 1
                is_said = True
            elif isinstance(frame, Chunk):
                self._frames += 1
                is_said = True
            elif isinstance(frame, Progress) and self._cached_tokens is None:
                self._cached_tokens = frame.cached
        if is_said and self._since is None:
            self._since = time.monotonic()
        return is_said

    def interrupt(self) -> None:
        """The engine was lost."""
        if self._since is not None:
            self._decoded_s += time.monotonic() - self._since
            self._since = None

    def completed(self, end: AnyFrame) -> AnyFrame:
        """An ``End`` that counts the time of all engines, as it counts their tokens."""
        if not self._decoded_s:
            return end
        assert isinstance(end, End), "what ends well ends with End"
        decode_s = end.timings.decode_s + self._decoded_s
        return replace(end, timings=replace(end.timings, decode_s=decode_s))

    @property
    def tokens(self) -> int:
        """Those that are known."""
        return len(self._tokens)

    @property
    def is_begun(self) -> bool:
        return self._frames > 0

    @property
    def is_untold(self) -> bool:
        """It was begun by an upstream, which does not tell its tokens: nobody can go on with it."""
        return self.is_begun and not self._tokens

    @property
    def continuation(self) -> Continuation | None:
        """None: nothing was handed on, so that anybody may begin."""
        if not self._tokens:
            return None
        return Continuation(
            tokens=tuple(self._tokens),
            frames=self._frames,
            cached_tokens=self._cached_tokens or 0,
        )
