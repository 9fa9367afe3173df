"""What failed inside a batch, as its requests are told, and whether anything works since."""

from collections.abc import Callable

import mlx.core as mx

from proto.errors import Code, MeshError
from services.runner.engine.memory_lack import is_lack_of_memory


class Mishaps:
    """Of one batch."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        """``give_back`` gives up the memory that is only kept for later."""
        self._give_back = give_back
        self._is_suspect = False

    def of(self, failure: Exception, doing: str) -> MeshError:
        """What to say of it."""
        self._is_suspect = True
        if not is_lack_of_memory(failure):
            return MeshError(Code.INTERNAL, f"the engine failed while {doing}")
        self._give_back()
        mx.clear_cache()
        return MeshError(
            Code.NO_MEMORY,
            f"the engine ran out of memory while {doing}; try again, with a shorter prompt if it "
            "happens again",
        )

    def prove(self, attempt: Callable[[], None]) -> None:
        """After a failure: ``attempt``, a pass of no request's. It raises where the engine itself
        is of no use any more.
        """
        if self._is_suspect:
            self._is_suspect = False
            attempt()
