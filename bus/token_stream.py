"""What a gateway has of one request's frames: in order, each once."""

import asyncio
import time

from bus.credit import Credit
from proto.errors import Code
from proto.frames import AnyFrame, End, Failed
from proto.ids import EngineId, GatewayId, RequestId
from proto.subjects import STREAM

SILENCE_S = 1.0
"""A stream silent this long may have lost its tail: ask for it, then ever more seldom."""
ABSENCES, ABSENT_S = 2, 0.5
"""Questions in a row, and the time between them, that find nobody there: the engine has ended."""
EARLY_FRAMES = 1024
"""Most frames kept that came before one that is missing; a replay brings the others again."""
MOST_SPOILED = 3
"""So often a frame may come that cannot be read, with none between them that can."""


class TokenStream:
    """The gateway's view of one request: frames in order, each once.

    Read by one task: ``await ready()``, then ``take()`` all there is.
    """

    __slots__ = (
        "_absences",
        "_early",
        "_frames",
        "_spoiled",
        "_waiter",
        "address",
        "credit",
        "engine",
        "epoch",
        "gateway",
        "heard_at",
        "is_over",
        "may_hold",
        "patience_s",
        "request",
        "want",
    )  # fmt: skip

    def __init__(self, request: RequestId, gateway: GatewayId) -> None:
        self.request = request
        self.gateway = gateway
        self.engine: EngineId | None = None
        self.address = b""
        """Where its engine speaks of it, and nobody else can; empty before it has one."""
        self.epoch = 0
        self.want = 0
        self.heard_at = time.monotonic()
        self.patience_s = SILENCE_S
        self.is_over = False
        self.credit = Credit()
        self.may_hold = True
        """Its engine waits for its reader; not where that gathers all for one answer."""
        self._absences = 0
        self._spoiled = 0
        self._frames: list[AnyFrame] = []
        self._early: dict[int, AnyFrame] = {}
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, engine: EngineId, epoch: int) -> None:
        """Expect the frames of this attempt, from its first on."""
        self.engine, self.epoch, self.want = engine, epoch, 0
        self.address = STREAM.at(self.gateway, engine, self.request).encode()
        self.credit = Credit()
        self._absences = 0
        self._spoiled = 0
        self._early.clear()
        self.heard_at = time.monotonic()

    def push(self, frame: AnyFrame) -> bool:
        """Take a frame in; False when one before it is missing."""
        if frame.epoch != self.epoch or frame.seq < self.want or self.is_over:
            return True
        self.heard_at = time.monotonic()
        self.patience_s = SILENCE_S
        if frame.seq != self.want:
            if len(self._early) < EARLY_FRAMES:
                self._early[frame.seq] = frame
            return False
        self._deliver(frame)
        while self._early and self.want in self._early:
            self._deliver(self._early.pop(self.want))
        return True

    def spoil(self) -> bool:
        """One came that cannot be read; True when that is so again and again."""
        self._spoiled += 1
        return self._spoiled >= MOST_SPOILED

    def miss(self) -> bool:
        """Nobody is there to replay it; True when that is so again, after a moment."""
        self._absences += 1
        self.heard_at, self.patience_s = time.monotonic(), ABSENT_S
        return self._absences >= ABSENCES

    def fail(self, code: Code, message: str) -> None:
        """End the stream from this side."""
        if not self.is_over:
            self._deliver(Failed(self.epoch, self.want, code.word, message))

    def _deliver(self, frame: AnyFrame) -> None:
        self.want += 1
        self._absences = self._spoiled = 0
        self.is_over = isinstance(frame, End | Failed)
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> int:
        """Frames that its reader has not taken."""
        return len(self._frames)

    async def ready(self) -> None:
        """Return when there is something to take."""
        if not self._frames:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def take(self) -> list[AnyFrame]:
        frames, self._frames = self._frames, []
        return frames
