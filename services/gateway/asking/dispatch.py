"""From a question to the engine that answers it, and on to another one if that one dies."""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from bus.deadline import left_s, moment
from bus.errors import NoAnswer, NobodyThere, NotConnected, TooLarge
from bus.token_stream import SILENCE_S, TokenStream
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Failed
from proto.generation import Generate
from proto.ids import CLOUD, EngineId, ModelId, node_of
from proto.placement import Candidate, Schedule
from proto.prefix import prefixes_of
from proto.subjects import GENERATE
from services.gateway.asking.delivered import Delivered
from services.gateway.asking.falling import Chain
from services.gateway.asking.mesh import Mesh, accept_s, all_refused, size, too_large
from services.gateway.asking.setbacks import Setbacks
from services.gateway.asking.wait import Tell, Wait

SILENT_S = 5.0
"""A client that has read nothing for this long gets a sign of life."""


class Keeper(Protocol):
    """Who is told when a generation ends."""

    def forget(self, generation: "Generation") -> None:
        """It is over."""

    async def abandon(self, stream: TokenStream) -> None:
        """Tell the engine that nobody waits any more, until it has heard it."""


class Generation:
    """One choice being generated: an accepted request, which another engine goes on with when its
    own is lost.
    """

    def __init__(
        self,
        mesh: Mesh,
        keeper: Keeper,
        question: Generate,
        tell: Tell | None = None,
        others: Iterable[Generate] = (),
        *,
        is_gathered: bool = False,
    ) -> None:
        """``tell`` hears what it waits for while its model is being loaded; ``others`` are asked
        when it cannot take it. ``is_gathered``: all of it is for one answer, which no client is
        slow to read, and which whoever takes over from this gateway needs from its first frame on.
        """
        self.question = question
        """As it is asked now."""
        self.engine: EngineId | None = None
        self.boot = ""
        self.placed_at = 0.0
        self.prompt_tokens = 0
        """As the engine counted them that accepted it last."""
        self.place = 0
        """Requests that went before it then."""
        self.is_bound = False
        """The client has seen text, so that nobody can begin anew."""
        self.beginnings = 0
        """How often it began anew: what was handed out before counts no more."""
        self.resumed = 0
        """How often another engine went on with it."""
        self._expires_at = moment(question.left_s)
        self._mesh = mesh
        self._keeper = keeper
        self._tell = tell
        self._stream: TokenStream | None = None
        self._asking: asyncio.Timeout | None = None
        self._moving: asyncio.Task[None] | None = None
        """Its way to another engine."""
        self._avoid: list[EngineId] = []
        self._epoch = -1
        self._chain = Chain(question, others, mesh.fleet)
        self._ahead: list[AnyFrame] = []
        """Taken, and not handed out yet."""
        self._delivered = Delivered()
        self._setbacks = Setbacks()
        self._flows = False
        """The engine it is at has said something of the answer."""
        self._failure: MeshError | None = None
        self._is_gathered = is_gathered
        self._is_finished = False
        """The engine itself said so."""

    async def start(self) -> None:
        """Return when an engine has accepted. Raises MeshError."""
        await self._place(self._mesh.wait(self.question.request, self._tell))

    @property
    def route(self) -> tuple[ModelId, ...]:
        """The models that were asked, in turn; the last is the one that serves it."""
        return tuple(self._chain.route)

    @property
    def may_go_elsewhere(self) -> bool:
        """Before its answer begins it may yet be refused, or go on to another model: an upstream
        is asked after an engine has accepted in its place.
        """
        is_upstream = self.engine is not None and node_of(self.engine) == CLOUD
        return is_upstream or self._chain.has_others

    async def begin(self, within_s: float) -> None:
        """Return when the first of the answer is there, or that has taken so long. Raises
        MeshError.
        """
        try:
            async with asyncio.timeout(within_s):
                while not (self._delivered.is_begun or self._is_finished):
                    self._ahead += await self._take()
        except TimeoutError:
            pass

    async def take(self) -> list[AnyFrame]:
        """The next frames, in order; none when nothing came for a while, or the engine changed.

        Where another engine goes on, they do too, with a higher epoch. Raises MeshError at the end
        of a generation that failed.
        """
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            return ahead
        return await self._take()

    async def _take(self) -> list[AnyFrame]:
        if self._failure is not None:
            raise self._failure
        if self._moving is not None and not await self._has_moved(self._moving):
            return []
        stream = self._stream
        assert stream is not None
        if self._flows:
            await stream.ready()
        elif not await _ready_soon(stream):
            return []
        frames = stream.take()
        if stream.is_over:
            last = frames[-1]
            if isinstance(last, Failed):
                return self._recover(frames[:-1], last)
            self._is_finished = True
            frames[-1] = self._delivered.completed(last)
        return self._hand_on(frames)

    def _hand_on(self, frames: list[AnyFrame]) -> list[AnyFrame]:
        if self._delivered.add(frames):
            self._flows = True
        return frames

    def _recover(self, frames: list[AnyFrame], failed: Failed) -> list[AnyFrame]:
        """What came before it failed; from then on it is on its way to another engine."""
        error = MeshError(
            Code.of(failed.code),
            failed.message,
            param=failed.param,
            retry_after_s=failed.retry_after_s,
        )
        frames = self._hand_on(frames)
        if self._may_move(error):
            if self._delivered.is_untold:
                self._begin_anew()
                frames = []
            else:
                self.resumed += 1
            self._delivered.interrupt()
            self._moving = asyncio.create_task(self._move(error))
        elif self._may_fall(error):
            frames = []
            self._moving = asyncio.create_task(self._fall_on(error))
        else:
            self._failure = self._chain.summed_up(error)
            if not frames:
                raise self._failure
        return frames

    def _begin_anew(self) -> None:
        self._delivered = Delivered()
        self._ahead = []
        self.beginnings += 1

    def _may_move(self, error: MeshError) -> bool:
        if self._delivered.is_untold and self.is_bound:
            return False
        holders = self._mesh.fleet.holders(self.question.model)
        has_others = any(e.boot != self.boot and not e.upstream for e in holders)
        return self._setbacks.allow(error.code, self._delivered.tokens, has_others=has_others)

    async def _move(self, lost: MeshError) -> None:
        """Raises MeshError when nobody goes on with it."""
        await self._leave()
        wait = self._mesh.wait(self.question.request)
        wait.insist()
        try:
            await self._place(wait)
        except MeshError as error:
            message = f"{lost.message} Nobody could go on with it: {error.message}"
            raise MeshError(lost.code, message, retry_after_s=error.retry_after_s) from error

    def _may_fall(self, error: MeshError) -> bool:
        """Whether another model may be asked for all of it: nobody was told anything yet."""
        is_late = self._expires_at is not None and left_s(self._expires_at) == 0
        return not (self.is_bound or is_late) and self._chain.may_follow(error)

    def _fall(self, error: MeshError) -> None:
        self.question = self._chain.follow(error)
        self._avoid = []
        self._setbacks = Setbacks()
        if self._delivered.is_begun:
            self._begin_anew()

    async def _fall_on(self, error: MeshError) -> None:
        """Raises MeshError when no other model takes it."""
        await self._leave()
        self._fall(error)
        await self._place(self._mesh.wait(self.question.request, self._tell))

    async def _has_moved(self, moving: asyncio.Task[None]) -> bool:
        """False when it takes long. Raises MeshError."""
        done, _ = await asyncio.wait({moving}, timeout=SILENT_S)
        if not done:
            return False
        self._moving = None
        moving.result()
        return True

    async def _place(self, wait: Wait) -> None:
        """Return when an engine has accepted, of whatever model of the chain. Raises MeshError."""
        while True:
            try:
                return await self._place_here(wait)
            except MeshError as error:
                if not self._may_fall(error):
                    raise self._chain.summed_up(error) from error
                self._fall(error)
            wait = self._mesh.wait(self.question.request, self._tell)

    async def _place_here(self, wait: Wait) -> None:
        """Return when an engine of the model has accepted. Raises MeshError.

        Where another model may be asked, no engine that is not there is waited for.
        """
        asked = self.question
        schedule = Schedule(
            model=asked.model,
            prompt_bytes=size(asked.prompt),
            prefix=prefixes_of(asked.prompt, asked.privacy),
            priority=asked.priority,
            session=asked.session,
            local_only=asked.local_only,
        )
        while True:
            try:
                question = replace(schedule, avoid=tuple(self._avoid))
                return await self._offer(await self._mesh.candidates(question, wait), wait)
            except MeshError as error:
                if self._may_fall(error):
                    raise
                await wait.after(error)

    async def _offer(self, candidates: tuple[Candidate, ...], wait: Wait) -> None:
        """What one engine was well with and another refuses is the other's own matter."""
        refusals: list[MeshError] = []
        for candidate in candidates:
            try:
                return await self._ask(candidate, wait)
            except MeshError as error:
                if not (error.code.is_elsewhere_curable or self._delivered.is_begun):
                    raise
                refusals.append(error)
        raise all_refused(refusals)

    async def _ask(self, candidate: Candidate, wait: Wait) -> None:
        """Raises MeshError. An engine that answered with a refusal holds nothing of ours."""
        stream = self._expect(candidate)
        question = replace(
            self.question,
            epoch=self._epoch,
            left_s=left_s(self._expires_at),
            continues=self._delivered.continuation,
        )
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
            raise MeshError(Code.ENGINE_LOST, "The engine is gone; ask again.") from error
        except (NoAnswer, NotConnected, TimeoutError) as error:
            wait.unanswered()
            await self._leave()
            raise MeshError(Code.ENGINE_LOST, "The engine did not answer; ask again.") from error
        finally:
            self._asking = None
        self.prompt_tokens, self.place = accepted.prompt_tokens, accepted.place
        stream.patience_s = SILENCE_S

    def _expect(self, candidate: Candidate) -> TokenStream:
        """Each engine asked gets its own epoch: what an earlier one still sends is dropped."""
        self._epoch += 1
        self._flows = False
        self._stream = stream = self._mesh.source.open(self.question.request)
        stream.attach(candidate.engine, self._epoch)
        stream.may_hold = not self._is_gathered
        # An engine asked for a replay before it has accepted would say that it knows of nothing.
        stream.patience_s = accept_s(self.question.prompt)
        self.engine, self.boot = candidate.engine, candidate.boot
        self.placed_at = time.monotonic()
        return stream

    @property
    def is_asking(self) -> bool:
        """An engine has yet to say whether it takes it."""
        return self._asking is not None

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
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
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
