"""How a request that runs is over: its share of the engine is others', and its reader hears so."""

from proto.errors import Code
from services.runner.engine.answer.channels import Over
from services.runner.engine.batching.outbox import Outbox
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.queueing.queue import Queue


class Endings:
    """Of one batch."""

    def __init__(self, queue: Queue[Sequence], outbox: Outbox) -> None:
        self._queue = queue
        self._outbox = outbox

    def end(self, sequence: Sequence, over: Over, now: float) -> None:
        self._queue.end(sequence)
        self._outbox.end(sequence, over, now)

    def fail(self, sequence: Sequence, code: Code, message: str) -> None:
        self._queue.end(sequence)
        self._outbox.fail(sequence, code, message)
