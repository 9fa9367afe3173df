"""How a request waits: for an engine that is known but not there, and for a model to be loaded."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from proto.errors import Code, MeshError
from proto.ids import ModelId, RequestId

PATIENCE_S = 10.0
"""How long a request waits, from its first failure on, for an engine that is known but not there:
one restart.
"""
RECOVERY_S = 30.0
"""How long one that was lost at work waits for another engine: a restart, loading included."""
UNANSWERED = 2
"""How often an engine may leave the question itself without an answer before that is the last word:
when a link is down, it is the question that is stuck, and the next one gets through.
"""
POLL_S = 0.2
LONGEST_POLL_S = 1.0
"""While a model is loaded, schedulers are asked ever less often, but never less than this."""

LOST = (Code.ENGINE_LOST, Code.NO_ENGINE, Code.BUS_UNAVAILABLE)
"""What may be better in a moment, or elsewhere."""

Tell = Callable[[str], Awaitable[None]]
"""Who is told, again and again, what a request waits for."""


async def _nobody(waits_for: str) -> None:
    pass


class Wait:
    """One request's wait for an engine, from its first question on."""

    def __init__(self, request: RequestId, load_s: float, tell: Tell | None = None) -> None:
        """``load_s``: how long it waits at most for its model to be loaded."""
        self.request = request
        self._since = time.monotonic()
        self.loads_for = ""
        """What the model's loading waits for; empty as long as nobody said that it is loaded."""
        self._load_s = load_s
        self._tell = tell or _nobody
        self._pause_s = POLL_S
        self._patient_until: float | None = None
        """None until something is lost: an engine that cannot be heard may take all of that."""
        self._insists = False
        self._unanswered = 0

    def unanswered(self) -> None:
        """One question took all the time there was; patience with the engine begins after it."""
        self._unanswered += 1
        if self._unanswered <= UNANSWERED:
            self.extend(PATIENCE_S)

    def insist(self) -> None:
        """Something is under way: as long as a restart takes, no refusal is the last word."""
        self._insists = True
        self.extend(RECOVERY_S)

    @property
    def _is_at_its_end(self) -> bool:
        return self._patient_until is not None and time.monotonic() > self._patient_until

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._since

    def extend(self, seconds: float) -> None:
        """Be patient for so long from now on."""
        self._patient_until = time.monotonic() + seconds

    async def after(self, error: MeshError) -> None:
        """Return when it is time to ask again. Raises what will not be better then."""
        is_lost = error.code in LOST
        if self._patient_until is None:
            self.extend(PATIENCE_S)
        if not (is_lost or self._insists) or self._is_at_its_end:
            raise error
        await asyncio.sleep(POLL_S if is_lost else LONGEST_POLL_S)

    async def for_load(self, model: ModelId, waits_for: str, is_served: Callable[[], bool]) -> None:
        """Return when it is time to ask again, at once when the model is served. Raises MeshError.

        An engine that is lost afterwards is waited for as long as any other.
        """
        self.loads_for = waits_for or "loading"
        if self.waited_s >= self._load_s:
            raise MeshError(
                Code.DEADLINE,
                f"The model {model!r} was not loaded within {self._load_s:g} s "
                f"({self.loads_for}). Ask again later, or load it with `odyssai load {model}`.",
            )
        await self._tell(self.loads_for)
        end = time.monotonic() + self._pause_s
        await asyncio.sleep(POLL_S)
        while time.monotonic() < end and not is_served():
            await asyncio.sleep(POLL_S)
        self._pause_s = min(LONGEST_POLL_S, 2 * self._pause_s)
        self.extend(PATIENCE_S)
