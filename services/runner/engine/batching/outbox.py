"""The frames that a step brings, in the order in which they arose."""

import time
from collections.abc import Iterable

from proto.errors import Code
from proto.frames import AnyFrame, Failed, Progress
from proto.ids import RequestId
from services.runner.engine.answer.channels import Over
from services.runner.engine.batching.sequence import Sequence

PROGRESS_S = 0.5
"""With the longest chunk on top, a reader hears of a long prompt at least every second."""
REASSURE_S = 2.0
"""How often a reader hears of an answer that is paused."""

Frames = list[tuple[RequestId, AnyFrame]]


class Outbox:
    """Filled by the model's thread alone."""

    def __init__(self) -> None:
        self._frames: Frames = []
        self._reassured_at = 0.0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, sequence: Sequence, frames: Iterable[AnyFrame]) -> None:
        self._frames += [(sequence.request, frame) for frame in frames]

    def take(self) -> Frames:
        """All there are; from then on it is empty."""
        frames, self._frames = self._frames, []
        return frames

    def report(self, sequence: Sequence, now: float) -> None:
        """How far its prompt is."""
        sequence.progress_at = now
        done, total = min(sequence.done, sequence.prompt_tokens), sequence.prompt_tokens
        progress = Progress(sequence.epoch, sequence.next_seq(), done, total, sequence.cached)
        self.put(sequence, [progress])

    def report_long(self, reading: Iterable[Sequence]) -> None:
        """Those of whom nothing was heard for a while."""
        now = time.monotonic()
        for sequence in reading:
            if now - sequence.progress_at >= PROGRESS_S:
                self.report(sequence, now)

    def reassure(self, waiting: Iterable[Sequence]) -> None:
        """A client whose answer is paused hears that it goes on."""
        now = time.monotonic()
        if now - self._reassured_at >= REASSURE_S:
            self._reassured_at = now
            for sequence in waiting:
                if sequence.ran_before:
                    self.report(sequence, now)

    def end(self, sequence: Sequence, over: Over, now: float) -> None:
        self.put(sequence, [sequence.end(over.reason, over.stop, now)])

    def fail(self, sequence: Sequence, code: Code, message: str) -> None:
        self.put(sequence, [Failed(sequence.epoch, sequence.next_seq(), code.word, message)])
