"""The frames of one request, counted and timed while an upstream answers it."""

import time

from proto.errors import MeshError
from proto.frames import AnyFrame, CallDelta, Delta, End, Failed, Progress, Timings, Usage
from proto.ids import fresh
from proto.inference import FinishReason, Generate
from services.cloud.openai_pieces import CallPiece, Piece


class Frames:
    def __init__(self, request: Generate) -> None:
        self._epoch = request.epoch
        self._seq = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._usage = Usage(0, 0, 0)
        self._reason: FinishReason = "stop"
        self._calls: list[tuple[int, str]] = []
        """Index and id that the upstream gave each call so far."""

    def _next(self) -> int:
        self._seq += 1
        return self._seq - 1

    def began(self) -> Progress:
        return Progress(self._epoch, self._next(), 0, 0, 0)

    def of(self, piece: Piece) -> list[AnyFrame]:
        self._usage = piece.usage or self._usage
        self._reason = piece.reason or self._reason
        frames: list[AnyFrame] = []
        if piece.reasoning:
            thought = Delta(self._epoch, self._next(), piece.reasoning, (), (), "reasoning")
            frames.append(thought)
        if piece.text or piece.logprobs:
            frames.append(Delta(self._epoch, self._next(), piece.text, (), piece.logprobs))
        frames += [self._called(call) for call in piece.calls]
        if frames:
            self._first = self._first or time.monotonic()
        return frames

    def _called(self, piece: CallPiece) -> CallDelta:
        number = self._number(piece)
        if number is not None:
            return CallDelta(self._epoch, self._next(), number, "", "", piece.arguments, ())
        self._calls.append((piece.index, piece.id))
        return CallDelta(
            self._epoch,
            self._next(),
            len(self._calls) - 1,
            piece.id or f"call_{fresh()}",
            piece.name,
            piece.arguments,
            (),
        )

    def _number(self, piece: CallPiece) -> int | None:
        """Which call it goes on with; None when it begins one.

        Some upstreams give every call the same index, and tell them apart by their ids.
        """
        for number, (index, id) in reversed(list(enumerate(self._calls))):
            if index == piece.index and (not piece.id or piece.id == id):
                return number
        return None

    def ended(self) -> End:
        now = time.monotonic()
        first = self._first or now
        timings = Timings(0.0, first - self._began, now - first)
        # Some say ``stop`` after a call that the client had named.
        is_called = self._calls and self._reason == "stop"
        reason: FinishReason = "tool_calls" if is_called else self._reason
        return End(self._epoch, self._next(), reason, self._usage, timings)

    def failed(self, error: MeshError) -> Failed:
        return Failed(
            self._epoch,
            self._next(),
            error.code.word,
            error.message,
            error.param,
            error.retry_after_s,
        )
