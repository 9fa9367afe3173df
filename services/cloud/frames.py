"""The frames of one request, counted and timed while an upstream answers it."""

import time

from proto.errors import MeshError
from proto.frames import (
    AnyFrame,
    CallDelta,
    Cause,
    Chunk,
    Delta,
    End,
    Failed,
    Progress,
    Timings,
    Usage,
)
from proto.generation import FinishReason, Generate
from proto.ids import fresh
from services.cloud.piece import CallPiece, Piece


class Frames:
    def __init__(self, request: Generate) -> None:
        self._epoch = request.epoch
        self._seq = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self.usage = Usage(0, 0, 0)
        """As the upstream told it last."""
        self.outcome = "ok"
        """The word of what went wrong, if anything did."""
        self._reason: FinishReason = "stop"
        self._stop: str | None = None
        self._cause: Cause = ""
        self._calls: list[tuple[int, str]] = []
        """Index and id that the upstream gave each call so far."""

    def _next(self) -> int:
        self._seq += 1
        return self._seq - 1

    def began(self) -> Progress:
        return Progress(self._epoch, self._next(), 0, 0, 0)

    def of(self, piece: Piece) -> list[AnyFrame]:
        self.usage = piece.usage or self.usage
        if piece.reason:
            self._reason, self._stop, self._cause = piece.reason, piece.stop, piece.cause
        frames: list[AnyFrame] = []
        if piece.data:
            frames.append(Chunk(self._epoch, self._next(), piece.data, piece.chars))
        if piece.reasoning or piece.signature or piece.sealed:
            frames.append(self._thought(piece))
        if piece.text or piece.logprobs:
            frames.append(Delta(self._epoch, self._next(), piece.text, (), piece.logprobs))
        frames += [self._called(call) for call in piece.calls]
        if frames:
            self._first = self._first or time.monotonic()
        return frames or self._read_as(piece)

    def _read_as(self, piece: Piece) -> list[AnyFrame]:
        """Some upstreams count a prompt before they answer it: that is known of one that is cut."""
        usage = piece.usage
        if usage is None or not usage.prompt_tokens or piece.reason or self._first is not None:
            return []
        read = usage.prompt_tokens
        return [Progress(self._epoch, self._next(), read, read, usage.cached_tokens)]

    def _thought(self, piece: Piece) -> Delta:
        return Delta(
            self._epoch,
            self._next(),
            piece.reasoning,
            (),
            channel="reasoning",
            signature=piece.signature,
            sealed=piece.sealed,
        )

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
        is_called = self._calls and self._reason == "stop" and not self._cause
        reason: FinishReason = "tool_calls" if is_called else self._reason
        return End(self._epoch, self._next(), reason, self.usage, timings, self._stop, self._cause)

    def failed(self, error: MeshError) -> Failed:
        self.outcome = error.code.word
        return Failed(
            self._epoch,
            self._next(),
            error.code.word,
            error.message,
            error.param,
            error.retry_after_s,
        )
