"""From a question to the engine that answers it, and on to another one if that one dies."""

import asyncio
import time
from typing import Protocol

from msgspec.structs import replace

from bus.deadline import left_s, moment
from bus.errors import NoAnswer, NobodyThere, NotConnected, TooLarge
from bus.stream import SILENCE_S, TokenStream
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Failed
from proto.ids import EngineId
from proto.inference import Candidate, Generate, Schedule
from proto.prefix import prefixes_of
from proto.subjects import GENERATE
from services.gateway.asking.mesh import Mesh, accept_s, all_refused, size, too_large
from services.gateway.asking.wait import LOST, Tell

ATTEMPTS = 3
SILENT_S = 5.0
"""A client that has read nothing for this long gets a sign of life."""


class Keeper(Protocol):
    """Who is told when a generation ends."""

    def forget(self, generation: "Generation") -> None:
        """It is over."""

    async def abandon(self, stream: TokenStream) -> None:
        """Tell the engine that nobody waits any more, until it has heard it."""


class Generation:
    """One choice being generated: an accepted request, moved to another engine if need be."""

    def __init__(
        self, mesh: Mesh, keeper: Keeper, question: Generate, tell: Tell | None = None
    ) -> None:
        """``tell`` hears what it waits for while its model is being loaded."""
        self.question = question
        self.engine: EngineId | None = None
        self.boot = ""
        self.placed_at = 0.0
        self.prompt_tokens = 0
        """As the engine counted them that accepted it last."""
        self.place = 0
        """Requests that went before it then."""
        self.is_bound = False
        """The client has seen text of this attempt, so that no other could take its place."""
        self._expires_at = moment(question.left_s)
        self._mesh = mesh
        self._keeper = keeper
        self._tell = tell
        self._stream: TokenStream | None = None
        self._asking: asyncio.Timeout | None = None
        self._avoid: list[EngineId] = []
        self._asked_boots: set[str] = set()
        """Lives of engines that may hold the request already."""
        self._attempts = 0
        self._epoch = -1
        self._failure: MeshError | None = None
        self._is_finished = False
        """The engine itself said so."""

    async def start(self) -> None:
        """Return when an engine has accepted. Raises MeshError."""
        self._attempts += 1
        schedule = Schedule(
            model=self.question.model,
            prompt_bytes=size(self.question.prompt),
            prefix=prefixes_of(self.question.prompt, self.question.privacy),
            priority=self.question.priority,
            session=self.question.session,
        )
        wait = self._mesh.wait(self.question.request, self._tell)
        while True:
            try:
                question = replace(schedule, avoid=tuple(self._avoid))
                return await self._offer(await self._mesh.candidates(question, wait))
            except MeshError as error:
                await wait.after(error)

    async def take(self) -> list[AnyFrame]:
        """The next frames, in order; none when the engine was silent for a while or changed.

        After a change they begin anew, with a higher epoch. Raises MeshError at the end of a
        generation that failed.
        """
        stream = self._stream
        assert stream is not None
        if self._failure is not None:
            raise self._failure
        if self.is_bound:
            await stream.ready()
        elif not await _ready_soon(stream):
            return []
        frames = stream.take()
        if stream.is_over:
            last = frames[-1]
            if isinstance(last, Failed):
                return await self._recover(frames[:-1], last)
            self._is_finished = True
        return frames

    async def _recover(self, frames: list[AnyFrame], failed: Failed) -> list[AnyFrame]:
        error = MeshError(
            Code.of(failed.code),
            failed.message,
            param=failed.param,
            retry_after_s=failed.retry_after_s,
        )
        if self.is_bound or error.code not in LOST or self._attempts >= ATTEMPTS:
            if not frames:
                raise error
            self._failure = error
            return frames
        await self._leave()
        await self.start()
        return []

    async def _offer(self, candidates: tuple[Candidate, ...]) -> None:
        refusals: list[MeshError] = []
        for candidate in candidates:
            if candidate.boot in self._asked_boots:
                continue
            try:
                return await self._ask(candidate)
            except MeshError as error:
                if not error.code.is_elsewhere_curable:
                    raise
                refusals.append(error)
        raise all_refused(refusals)

    async def _ask(self, candidate: Candidate) -> None:
        """Raises MeshError. An engine that answered with a refusal holds nothing of ours."""
        stream = self._expect(candidate)
        question = replace(self.question, epoch=self._epoch, left_s=left_s(self._expires_at))
        try:
            async with asyncio.timeout(None) as self._asking:
                accepted = await self._mesh.bus.ask(
                    GENERATE, question, candidate.engine, timeout_s=accept_s(question.prompt)
                )
        except MeshError:
            self._drop()
            raise
        except TooLarge as error:
            self._drop()
            raise too_large(error) from error
        except NobodyThere as error:
            self._avoid.append(candidate.engine)
            self._drop()
            raise MeshError(Code.ENGINE_LOST, "The engine is gone.") from error
        except (NoAnswer, NotConnected, TimeoutError) as error:
            self._asked_boots.add(candidate.boot)
            await self._leave()
            raise MeshError(Code.ENGINE_LOST, "The engine did not answer.") from error
        finally:
            self._asking = None
        self.prompt_tokens, self.place = accepted.prompt_tokens, accepted.place
        self._asked_boots.add(candidate.boot)
        stream.patience_s = SILENCE_S

    def _expect(self, candidate: Candidate) -> TokenStream:
        """Each engine asked gets its own epoch: what an earlier one still sends is dropped."""
        self._epoch += 1
        self._stream = stream = self._mesh.source.open(self.question.request)
        stream.attach(candidate.engine, self._epoch)
        # An engine asked for a replay before it has accepted would say that it knows of nothing.
        stream.patience_s = accept_s(self.question.prompt)
        self.engine, self.boot = candidate.engine, candidate.boot
        self.placed_at = time.monotonic()
        return stream

    def lose(self) -> None:
        """The engine is gone: end its stream, or the wait for its answer. May be said twice."""
        if self._asking is not None:
            if not self._asking.expired():
                self._asking.reschedule(asyncio.get_running_loop().time())
        elif self._stream is not None:
            self._stream.fail(
                Code.ENGINE_LOST, f"Engine {self.engine} was lost while answering; ask again."
            )

    async def close(self) -> None:
        """Whatever became of it. An engine still at work is told to stop."""
        self._keeper.forget(self)
        if not self._is_finished:
            await self._leave()
        self._drop()

    async def _leave(self) -> None:
        """Go away from an engine that may well be at work still."""
        stream, self._stream = self._stream, None
        if self.engine is not None:
            self._avoid.append(self.engine)
        self.engine = None
        if stream is not None:
            await self._keeper.abandon(stream)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._mesh.source.close(stream)


async def _ready_soon(stream: TokenStream) -> bool:
    try:
        async with asyncio.timeout(SILENT_S):
            await stream.ready()
    except TimeoutError:
        return False
    return True
