"""The engine on the bus whose model reads and generates nothing: vectors and scores.

This is the asyncio side; nothing here touches an array of mlx's.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from bus.deadline import moment
from bus.gateways import Gateways
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.generation import Accepted, Cancel, Generate
from proto.ids import GatewayId
from proto.presence import EngineBeat
from proto.prompt import Text
from proto.subjects import CANCEL, COUNT_TOKENS, DETOKENIZE, EMBED, GENERATE, RERANK, TOKENIZE
from proto.tokenization import Counted, CountTokens, Detokenize, Detokenized, Tokenize, Tokenized
from services.runner.engine.embedding.asking import (
    rows_of_pairs,
    rows_of_texts,
    tokens_of,
    vectors,
)
from services.runner.engine.embedding.loop import ReaderThread
from services.runner.engine.embedding.passes import Job, Numbers
from services.runner.engine.embedding.row import Row
from services.runner.engine.loading import Source
from services.runner.engine.presence.presence import Presence
from services.runner.models.kind import Kind

INLINE_CHARS = 20_000
"""More text is tokenised beside the event loop."""


class ReadingEngine:
    """One loaded embedder or reranker as the mesh sees it: what it takes, refuses and says."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, presence: Presence, source: Source, kind: Kind
    ) -> "AsyncIterator[ReadingEngine]":
        engine = cls(presence, source, kind)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(engine.gateways.watch())
            try:
                yield engine
            finally:
                watching.cancel()
                engine.thread.stop()

    def __init__(self, presence: Presence, source: Source, kind: Kind) -> None:
        self._presence = presence
        presence.describe = self._describe
        self._loop = asyncio.get_running_loop()
        self.thread = ReaderThread(source, kind, self._hand_over, slots=presence.settings.slots)
        self._tasks: dict[asyncio.Task[object], Embed | Rerank] = {}
        """What is being answered."""
        self._jobs: dict[Job, asyncio.Future[None]] = {}
        self.gateways = Gateways(
            presence.host.bus,
            lambda: (asked.gateway for asked in self._tasks.values() if asked.gateway),
            self._release,
        )

    async def load(self) -> bool:
        """False when the engine was asked to stop meanwhile. Raises NotLoadable."""
        loaded = await self._presence.host.unless_stopped(asyncio.wrap_future(self.thread.start()))
        if loaded is None:
            return False
        self._loaded = dataclasses.replace(loaded, card=self._presence.introduce(loaded.card))
        return True

    async def answer(self) -> None:
        bus, engine = self._presence.host.bus, self._presence.settings.engine
        await bus.answer(EMBED, self._embed, engine)
        await bus.answer(RERANK, self._rerank, engine)
        await bus.listen(CANCEL, self._cancel, engine)
        await bus.answer(COUNT_TOKENS, self._count, engine)
        await bus.answer(TOKENIZE, self._tokenize, engine)
        await bus.answer(DETOKENIZE, self._detokenize, engine)
        await bus.answer(GENERATE, self._refuse_to_generate, engine)

    async def prepare(self) -> None:
        """Nothing is left to make ready."""

    def abandon(self) -> None:
        for job in list(self._jobs):
            self._end(job, MeshError(Code.ENGINE_LOST, "the engine is stopping"))

    async def settled(self) -> None:
        """Answers and the farewell take the same connection, in that order."""

    # Questions

    async def _embed(self, asked: Embed) -> Embedded:
        self._expect_kind("embedder")
        size = sum(len(given.text) for given in asked.inputs if isinstance(given, Text))
        job = await self._read(asked, size, lambda: rows_of_texts(asked, self._loaded))
        return Embedded(vectors=vectors(_numbers(job), asked.dimensions), tokens=_tokens(job))

    async def _rerank(self, asked: Rerank) -> Reranked:
        self._expect_kind("reranker")
        size = sum(len(asked.query) + len(document) for document in asked.documents)
        job = await self._read(asked, size, lambda: rows_of_pairs(asked, self._loaded))
        scores = tuple(float(numbers[0]) for numbers in _numbers(job))
        return Reranked(scores=scores, tokens=_tokens(job))

    async def _read(
        self, asked: Embed | Rerank, chars: int, rows_of: Callable[[], list[Row]]
    ) -> Job:
        """The job, done. Raises MeshError; CancelledError when the asker withdraws."""
        self._presence.refuse_if_full(len(self._tasks), self.thread.waiting_of(asked.key))
        task = asyncio.current_task()
        assert task is not None, "the bus answers each question in a task"
        self.gateways.hear(asked.gateway)
        self._tasks[task] = asked
        self._presence.activity.note(len(self._tasks))
        began, expires_at = time.monotonic(), moment(asked.left_s)
        try:
            rows = rows_of() if chars <= INLINE_CHARS else await asyncio.to_thread(rows_of)
            job = Job(
                asked.request,
                rows,
                expires_at,
                key=asked.key,
                weight=asked.weight,
                priority=asked.priority,
            )
            await self._done(job)
        finally:
            del self._tasks[task]
            self._presence.activity.note(len(self._tasks))
        self._presence.learn(time.monotonic() - began)
        return job

    async def _done(self, job: Job) -> None:
        self._jobs[job] = done = self._loop.create_future()
        self.thread.submit(job)
        try:
            await done
        finally:
            if self._jobs.pop(job, None):
                self.thread.cancel(job)

    def _expect_kind(self, kind: Kind) -> None:
        card = self._loaded.card
        if card.kind != kind:
            raise MeshError(
                Code.INVALID_REQUEST,
                f"{card.id} is no {kind} but of kind {card.kind}.",
                param="model",
            )

    def _cancel(self, cancel: Cancel) -> None:
        for task, asked in list(self._tasks.items()):
            if asked.request == cancel.request:
                task.cancel()

    def _release(self, gateway: GatewayId) -> None:
        """Nobody waits there any more."""
        for task, asked in list(self._tasks.items()):
            if asked.gateway == gateway:
                task.cancel()

    async def _count(self, asked: CountTokens) -> Counted:
        return Counted(tokens=len(tokens_of(asked.prompt, self._loaded)))

    async def _tokenize(self, asked: Tokenize) -> Tokenized:
        ids = tokens_of(asked.prompt, self._loaded, asked.with_specials)
        return Tokenized(tokens=tuple(ids), pieces=tuple(map(self._loaded.texts.piece, ids)))

    async def _detokenize(self, asked: Detokenize) -> Detokenized:
        return Detokenized(text=self._loaded.texts.text(asked.tokens))

    async def _refuse_to_generate(self, asked: Generate) -> Accepted:
        place = "/v1/embeddings" if self._loaded.card.kind == "embedder" else "/v1/rerank"
        raise MeshError(
            Code.INVALID_REQUEST,
            f"The model {asked.model!r} generates nothing, it is for {place}; choose one of kind "
            "llm out of GET /v1/models.",
            param="model",
        )

    # Answers

    def _hand_over(self, job: Job, failed: MeshError | None) -> None:
        """Called on the model's thread."""
        self._loop.call_soon_threadsafe(self._end, job, failed)

    def _end(self, job: Job, failed: MeshError | None) -> None:
        done = self._jobs.pop(job, None)
        if done is None or done.done():
            return
        if failed is None:
            done.set_result(None)
        else:
            done.set_exception(failed)

    def _describe(self, plain: EngineBeat) -> EngineBeat:
        now, slots = self.thread.snapshot(), plain.slots
        return replace(
            plain,
            running=min(len(self._tasks), slots),
            queued=max(0, len(self._tasks) - slots),
            queued_tokens=now.queued_tokens,
            unread=len(self._tasks),
            steps=now.steps,
            stalled_s=self._presence.stalled_s(now.has_work, now.last_step_at),
            memory_bytes=max(plain.memory_bytes, now.memory_bytes),
        )


def _numbers(job: Job) -> list[Numbers]:
    return [numbers for numbers in job.numbers if numbers is not None]


def _tokens(job: Job) -> int:
    return sum(map(job.length, range(len(job.rows))))
