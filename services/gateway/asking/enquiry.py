"""A question that one message answers, put to engines of a model until one answers it."""

import asyncio
import time
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from bus.deadline import left_s, moment
from bus.errors import NoAnswer, NobodyThere, NotConnected, TooLarge
from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.generation import Cancel
from proto.ids import EngineId, ModelId, RequestId
from proto.placement import Candidate, Schedule
from proto.subjects import CANCEL, Question
from services.gateway.asking.mesh import Mesh, all_refused, too_large
from services.gateway.asking.wait import RECOVERY_S

M = TypeVar("M", bound=Embed | Rerank)
A = TypeVar("A")

ANSWER_S = 600.0
"""How long an engine may work on one question; that it still does is told by its heartbeats."""
ATTEMPTS = 3


class Reply(NamedTuple, Generic[A]):
    engine: EngineId
    """Who gave it."""
    answer: A


class Enquiry(Generic[M, A]):
    """The question, and where it is. An engine at work on it that nobody waits for is told."""

    def __init__(
        self,
        mesh: Mesh,
        subject: Question[M, A],
        question: M,
        request: RequestId,
        model: ModelId,
        chars: int,
    ) -> None:
        """``request`` is the question's own id, ``chars`` how much there is to read."""
        self.engine: EngineId | None = None
        self.boot = ""
        self.placed_at = 0.0
        self._mesh = mesh
        self._subject = subject
        self._question = question
        self._expires_at = moment(question.left_s)
        self._request = request
        self._model = model
        self._chars = chars
        self._avoid: list[EngineId] = []
        self._losses = 0
        self._wait = mesh.wait(request)
        self._asking: asyncio.Timeout | None = None

    async def answer(self) -> Reply[A]:
        """The first answer there is. Raises MeshError."""
        while True:
            schedule = Schedule(
                model=self._model,
                prompt_bytes=self._chars,
                local_only=self._question.local_only,
                avoid=tuple(self._avoid),
            )
            try:
                return await self._offer(await self._mesh.candidates(schedule, self._wait))
            except MeshError as error:
                if self._losses >= ATTEMPTS:
                    raise
                await self._wait.after(error)

    def lose(self) -> None:
        """The engine is gone, or its answer is: ask elsewhere. May be said twice."""
        if self._asking is not None and not self._asking.expired():
            self._asking.reschedule(asyncio.get_running_loop().time())

    async def _offer(self, candidates: tuple[Candidate, ...]) -> Reply[A]:
        refusals: list[MeshError] = []
        for candidate in candidates:
            try:
                return Reply(candidate.engine, await self._ask(candidate))
            except MeshError as error:
                if not error.code.is_elsewhere_curable:
                    raise
                refusals.append(error)
        raise all_refused(refusals)

    async def _ask(self, candidate: Candidate) -> A:
        self.engine, self.boot = candidate.engine, candidate.boot
        self.placed_at = time.monotonic()
        try:
            async with asyncio.timeout(None) as self._asking:
                question = replace(self._question, left_s=left_s(self._expires_at))
                return await self._mesh.bus.ask(
                    self._subject, question, candidate.engine, timeout_s=ANSWER_S
                )
        except TooLarge as error:
            raise too_large(error) from error
        except NobodyThere as error:
            self._avoid.append(candidate.engine)
            raise MeshError(Code.ENGINE_LOST, "The engine is gone; ask again.") from error
        except (NoAnswer, NotConnected, TimeoutError) as error:
            self._avoid.append(candidate.engine)
            self._losses += 1
            self._wait.extend(RECOVERY_S)
            await self._withdraw(candidate.engine)
            raise MeshError(
                Code.ENGINE_LOST, f"Engine {candidate.engine} was lost while at work; ask again."
            ) from error
        except asyncio.CancelledError:
            await self._withdraw(candidate.engine)
            raise
        finally:
            self._asking = None

    async def _withdraw(self, engine: EngineId) -> None:
        await self._mesh.bus.publish(CANCEL, Cancel(request=self._request), engine)
