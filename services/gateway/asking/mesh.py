"""What the gateway asks the mesh: where to go, and whatever one engine of a model can answer."""

import logging
import time
from typing import TypeVar

from msgspec.structs import replace

from bus.connection import Bus
from bus.errors import BusError, NoAnswer, NobodyThere, TooLarge
from bus.fleet import Fleet
from bus.router import Router
from bus.stream import TokenSource
from proto.errors import Code, MeshError
from proto.ids import ModelId, RequestId, fresh
from proto.placement import Candidate, Schedule, Scheduled
from proto.prompt import Chat, Prompt, Text
from proto.subjects import COUNT_TOKENS, SCHEDULE, Question
from proto.tokenization import Counted, CountTokens
from services.gateway.asking.placing import pick, sole_holder
from services.gateway.asking.wait import Tell, Wait

log = logging.getLogger(__name__)

M = TypeVar("M")
A = TypeVar("A")

SCHEDULE_S = 0.4
"""How long a scheduler may think before another one is asked."""
SCHEDULERS = 2
"""So many are asked where only they can help, as for a model that is loaded nowhere."""
DETOUR_S = 5.0
"""Once one did not answer, the gateway decides by itself for so long, wherever it can: a scheduler
that stands still is asked as often as the others."""
ACCEPT_S = 10.0
"""An engine tokenises the prompt before it answers, which takes seconds for a very long one."""
IMAGE_S = 2.0
"""It also takes and measures each picture."""


class Mesh:
    """The bus, the streams and the fleet, as all requests of this process share them."""

    def __init__(self, bus: Bus, source: TokenSource, fleet: Fleet, load_s: float) -> None:
        """``load_s``: how long a request waits at most for its model to be loaded."""
        self.bus = bus
        self.source = source
        self.fleet = fleet
        self._router = Router(fleet)
        self._load_s = load_s
        self._detour_until = 0.0

    def wait(self, request: RequestId, tell: Tell | None = None) -> Wait:
        return Wait(request, self._load_s, tell)

    async def ask(
        self,
        subject: Question[M, A],
        question: M,
        model: ModelId,
        chars: int,
        wait_s: float = ACCEPT_S,
    ) -> A:
        """What any engine of the model answers: the first that does. Raises MeshError.

        ``chars`` is how much there is to read, ``wait_s`` how long one engine may take.
        """
        schedule = Schedule(model=model, prompt_bytes=chars)
        wait = self.wait(RequestId(fresh()))
        while True:
            try:
                candidates = await self.candidates(schedule, wait)
                return await self._ask_one_of(candidates, subject, question, wait_s)
            except MeshError as error:
                await wait.after(error)

    async def count(self, question: CountTokens) -> Counted:
        """Raises MeshError."""
        prompt = question.prompt
        return await self.ask(
            COUNT_TOKENS, question, question.model, size(prompt), accept_s(prompt)
        )

    async def _ask_one_of(
        self,
        candidates: tuple[Candidate, ...],
        subject: Question[M, A],
        question: M,
        wait_s: float,
    ) -> A:
        for candidate in candidates:
            try:
                return await self.bus.ask(subject, question, candidate.engine, timeout_s=wait_s)
            except TooLarge as error:
                raise too_large(error) from error
            except BusError as error:
                log.info("engine %s: no answer to %s: %s", candidate.engine, subject.pattern, error)
        raise all_refused([])

    async def candidates(self, question: Schedule, wait: Wait) -> tuple[Candidate, ...]:
        """Engines to try, best first; while the model is being loaded, it waits for them.

        One engine alone is no choice: asking a scheduler would cost a millisecond or
        two of the first token. Where no scheduler answers, or one refuses that has not
        heard yet of an engine that serves, the gateway decides as a scheduler would.
        Raises MeshError when there is none.
        """
        model = question.model
        while True:
            question = replace(question, request=wait.request, waited_s=wait.waited_s)
            sole = sole_holder(question, self.fleet)
            if sole is not None:
                return (sole,)
            scheduled = await self._scheduled(question, wait)
            if scheduled.candidates:
                return scheduled.candidates
            await wait.for_load(model, scheduled.waits_for, lambda: bool(self.fleet.holders(model)))

    async def _scheduled(self, question: Schedule, wait: Wait) -> Scheduled:
        for _ in range(SCHEDULERS):
            if time.monotonic() < self._detour_until and self.fleet.holders(question.model):
                break
            try:
                return await self.bus.ask(SCHEDULE, question, timeout_s=SCHEDULE_S)
            except NoAnswer:
                self._detour_until = time.monotonic() + DETOUR_S
            except NobodyThere:
                break
            except BusError as error:
                raise _unreachable(error) from error
            except MeshError:
                if not self.fleet.holders(question.model):
                    raise
                break
        if wait.loads_for and not self.fleet.holders(question.model):
            # The scheduler that loads it is being replaced; its successor will go on.
            return Scheduled(waits_for=wait.loads_for)
        return Scheduled(candidates=pick(question, self._router, self.fleet))


def size(prompt: Prompt) -> int:
    """Characters, a token id counting as four."""
    if isinstance(prompt, Chat):
        return prompt.chars
    return len(prompt.text) if isinstance(prompt, Text) else 4 * len(prompt.ids)


def accept_s(prompt: Prompt) -> float:
    """How long an engine may take to say whether it takes the prompt."""
    return ACCEPT_S + (IMAGE_S * len(prompt.images) if isinstance(prompt, Chat) else 0.0)


def all_refused(refusals: list[MeshError]) -> MeshError:
    """What to say when no candidate would: its own words if there was one, else that all are full,
    if any is.
    """
    if len(refusals) == 1:
        return refusals[0]
    full = [error for error in refusals if error.code is Code.QUEUE_FULL]
    if full:
        waits = [error.retry_after_s for error in full if error.retry_after_s is not None]
        return MeshError(
            Code.QUEUE_FULL,
            "Every engine that has this model is full. Try again in a moment.",
            retry_after_s=min(waits, default=1.0),
        )
    return MeshError(
        Code.NO_ENGINE, "No engine of this model answers at this moment. Try again.",
        retry_after_s=1.0,
    )  # fmt: skip


def too_large(error: TooLarge) -> MeshError:
    return MeshError(Code.TOO_LARGE, f"The prompt is too large: {error}; shorten it.")


def _unreachable(error: BusError) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE, f"The mesh cannot be reached: {error}. Try again.", retry_after_s=1.0
    )
