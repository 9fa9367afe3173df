"""From a question to the engine that answers it, and on to another one if that one dies."""

import asyncio
import logging
import time
from collections.abc import Iterable

from msgspec.structs import replace

from bus.connection import Bus
from bus.errors import BusError, NoAnswer, NobodyThere, NotConnected, TooLarge
from bus.fleet import Fleet
from bus.stream import TokenSource, TokenStream
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Failed
from proto.ids import EngineId
from proto.inference import (
    Accepted,
    Cancel,
    Candidate,
    Chat,
    Counted,
    CountTokens,
    Generate,
    Prompt,
    Schedule,
    Text,
)
from proto.prefix import prefix_hashes
from proto.presence import SILENCE_S, STALL_S, Gone
from proto.subjects import CANCEL, COUNT_TOKENS, GENERATE, GONE, SCHEDULE
from services.gateway.placing import pick

log = logging.getLogger(__name__)

SCHEDULE_S = 1.0
"""How long a scheduler may think before another one is asked."""
ACCEPT_S = 10.0
"""An engine tokenises the prompt before it accepts, which takes seconds for a very long one."""
PATIENCE_S = 10.0
"""How long a request waits for an engine that is known but not there: one restart."""
POLL_S = 0.2
ATTEMPTS = 3
SILENT_S = 5.0
"""A client that has read nothing for this long gets a sign of life."""
CANCELS = 5
"""How often a cancel is said, since an engine may not know the request yet."""
LOOK_S = 0.25

LOST = (Code.ENGINE_LOST, Code.NO_ENGINE, Code.BUS_UNAVAILABLE)


class Mesh:
    """What the gateway knows of the mesh, and the generations it has open there."""

    def __init__(self, bus: Bus, source: TokenSource, fleet: Fleet) -> None:
        self.bus = bus
        self.source = source
        self.fleet = fleet
        self._open: set[Generation] = set()
        self._abandoned: dict[TokenStream, tuple[float, int]] = {}
        """When a cancel is said next, and how many more times."""
        self._deaf_until = 0.0

    async def follow(self) -> None:
        await self.bus.listen(GONE, self._hear_gone)
        self.bus.on_reconnect.append(self._excuse_silence)

    def generation(self, question: Generate) -> "Generation":
        generation = Generation(self, question)
        self._open.add(generation)
        return generation

    async def count(self, question: CountTokens) -> Counted:
        """Raises MeshError."""
        schedule = Schedule(model=question.model, prompt_bytes=size(question.prompt))
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._count_at(await self.candidates(schedule), question)
            except MeshError as error:
                if error.code not in LOST or time.monotonic() > end:
                    raise
            await asyncio.sleep(POLL_S)

    async def _count_at(self, candidates: tuple[Candidate, ...], question: CountTokens) -> Counted:
        for candidate in candidates:
            try:
                return await self.bus.ask(
                    COUNT_TOKENS, question, candidate.engine, timeout_s=ACCEPT_S
                )
            except TooLarge as error:
                raise _too_large(error) from error
            except BusError as error:
                log.info("engine %s did not count: %s", candidate.engine, error)
        raise _all_refused([])

    async def candidates(self, question: Schedule) -> tuple[Candidate, ...]:
        """Engines to try, best first. Raises MeshError when there is none."""
        for _ in range(2):
            try:
                return (await self.bus.ask(SCHEDULE, question, timeout_s=SCHEDULE_S)).candidates
            except NoAnswer:
                continue
            except NobodyThere:
                break
            except BusError as error:
                raise _unreachable(error) from error
        return pick(question, self.fleet)

    def forget(self, generation: "Generation") -> None:
        self._open.discard(generation)

    async def abandon(self, stream: TokenStream) -> None:
        """Tell the engine that nobody waits any more, until it has heard it."""
        self._abandoned[stream] = (time.monotonic() + 1.0, CANCELS - 1)
        await self._cancel(stream)

    def _successor(self, stream: TokenStream) -> "Generation | None":
        """Who uses the same request id now, having been moved to another engine."""
        same = (g for g in self._open if g.question.request == stream.request)
        return next(same, None)

    async def _cancel(self, stream: TokenStream) -> None:
        successor = self._successor(stream)
        is_moved_back = successor is not None and successor.engine == stream.engine
        if stream.engine is not None and not is_moved_back:
            await self.bus.publish(CANCEL, Cancel(request=stream.request), stream.engine)

    def _hear_gone(self, gone: Gone) -> None:
        if gone.kind == "engine":
            self._lose(
                generation
                for generation in self._open
                if generation.engine == gone.id and gone.boot in ("", generation.boot)
            )

    def _excuse_silence(self) -> None:
        """Nobody was heard while the bus was away; that proves nothing about them."""
        self._deaf_until = time.monotonic() + SILENCE_S

    async def watch(self) -> None:
        """The gateway's one clock: notices dead engines, repeats cancels. Runs for ever."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            if now - last > 1.0 or not self.bus.is_connected:
                # This process was stopped, or the bus is away.
                self._excuse_silence()
            last = now
            if now > self._deaf_until:
                self._lose(self._unserved(now))
            await self._repeat_cancels(now)

    def _unserved(self, now: float) -> "list[Generation]":
        """Generations whose engine is silent, stuck, or has been born again."""
        boots = {e.engine: e.boot for e in self.fleet.engines() if e.stalled_s < STALL_S}
        return [
            generation
            for generation in self._open
            if generation.engine is not None
            and now - generation.placed_at > SILENCE_S
            and boots.get(generation.engine) != generation.boot
        ]

    def _lose(self, generations: "Iterable[Generation]") -> None:
        for generation in list(generations):
            generation.lose()

    async def _repeat_cancels(self, now: float) -> None:
        for stream, (at, left) in list(self._abandoned.items()):
            stream.take()
            if stream.is_over or not left:
                del self._abandoned[stream]
                if self._successor(stream) is None:
                    self.source.close(stream)
            elif now >= at:
                self._abandoned[stream] = (now + 1.0, left - 1)
                await self._cancel(stream)


class Generation:
    """One choice being generated: an accepted request, moved to another engine if need be."""

    def __init__(self, mesh: Mesh, question: Generate) -> None:
        self.question = question
        self.engine: EngineId | None = None
        self.boot = ""
        self.placed_at = 0.0
        self.is_bound = False
        """The client has seen text of this attempt, so that no other could take its place."""
        self.accepted: Accepted
        self._mesh = mesh
        self._stream: TokenStream | None = None
        self._asking: asyncio.Timeout | None = None
        self._avoid: list[EngineId] = []
        self._asked_boots: set[str] = set()
        """Lives of engines that may hold the request already."""
        self._attempts = 0
        self._epoch = -1
        self._failure: MeshError | None = None

    async def start(self) -> None:
        """Return when an engine has accepted. Raises MeshError."""
        self._attempts += 1
        schedule = Schedule(
            model=self.question.model,
            prompt_bytes=size(self.question.prompt),
            prefix=prefix_hashes(self.question.prompt),
            session=self.question.session,
        )
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                question = replace(schedule, avoid=tuple(self._avoid))
                return await self._offer(await self._mesh.candidates(question))
            except MeshError as error:
                if error.code not in LOST or time.monotonic() > end:
                    raise
            await asyncio.sleep(POLL_S)

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
        return frames

    async def _recover(self, frames: list[AnyFrame], failed: Failed) -> list[AnyFrame]:
        error = MeshError(Code.of(failed.code), failed.message)
        if self.is_bound or error.code not in LOST or self._attempts >= ATTEMPTS:
            if not frames:
                raise error
            self._failure = error
            return frames
        if self.engine is not None:
            self._avoid.append(self.engine)
        self._drop()
        await self.start()
        return []

    async def _offer(self, candidates: tuple[Candidate, ...]) -> None:
        refusals: list[MeshError] = []
        for candidate in candidates:
            if candidate.boot in self._asked_boots:
                continue
            try:
                self.accepted = await self._ask(candidate)
            except MeshError as error:
                if not error.code.is_elsewhere_curable:
                    raise
                refusals.append(error)
            else:
                return
        raise _all_refused(refusals)

    async def _ask(self, candidate: Candidate) -> Accepted:
        """Raises MeshError. An engine that answered with a refusal holds nothing of ours."""
        self._expect(candidate)
        question = replace(self.question, epoch=self._epoch)
        try:
            async with asyncio.timeout(None) as self._asking:
                accepted = await self._mesh.bus.ask(
                    GENERATE, question, candidate.engine, timeout_s=ACCEPT_S
                )
        except MeshError:
            self._drop()
            raise
        except TooLarge as error:
            self._drop()
            raise _too_large(error) from error
        except NobodyThere as error:
            self._avoid.append(candidate.engine)
            self._drop()
            raise MeshError(Code.ENGINE_LOST, "The engine is gone.") from error
        except (NoAnswer, NotConnected, TimeoutError) as error:
            self._avoid.append(candidate.engine)
            self._asked_boots.add(candidate.boot)
            await self._abandon()
            self.engine = None
            raise MeshError(Code.ENGINE_LOST, "The engine did not answer.") from error
        finally:
            self._asking = None
        self._asked_boots.add(candidate.boot)
        return accepted

    def _expect(self, candidate: Candidate) -> None:
        """Each engine asked gets its own epoch: what an earlier one still sends is dropped."""
        self._epoch += 1
        self._stream = self._mesh.source.open(self.question.request)
        self._stream.attach(candidate.engine, self._epoch)
        self.engine, self.boot = candidate.engine, candidate.boot
        self.placed_at = time.monotonic()

    def lose(self) -> None:
        """The engine is gone: end its stream, and the wait for its answer."""
        if self._asking is not None:
            self._asking.reschedule(asyncio.get_running_loop().time())
        elif self._stream is not None:
            self._stream.fail(
                Code.ENGINE_LOST, f"Engine {self.engine} was lost while answering; ask again."
            )

    async def close(self) -> None:
        """Whatever became of it. An engine still at work is told to stop."""
        self._mesh.forget(self)
        if self._stream is not None and not self._stream.is_over:
            await self._abandon()
        self._drop()

    async def _abandon(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await self._mesh.abandon(stream)

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


def size(prompt: Prompt) -> int:
    """Characters, a token id counting as four."""
    if isinstance(prompt, Chat):
        return sum(len(turn.content) for turn in prompt.turns)
    return len(prompt.text) if isinstance(prompt, Text) else 4 * len(prompt.ids)


def _all_refused(refusals: list[MeshError]) -> MeshError:
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


def _too_large(error: TooLarge) -> MeshError:
    return MeshError(Code.TOO_LARGE, f"The prompt is too large: {error}; shorten it.")


def _unreachable(error: BusError) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE, f"The mesh cannot be reached: {error}. Try again.", retry_after_s=1.0
    )
