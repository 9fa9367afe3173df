"""What an upstream answers in one piece: vectors, ranks, counts, and what it has loaded."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, NoReturn, TypeVar

from bus.connection import Bus
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.enrolment import LoadedSet, SetLoaded
from proto.errors import Code, MeshError
from proto.frames import Usage
from proto.ids import ModelId
from proto.tokenization import Counted, CountTokens, Detokenize, Tokenize
from services.cloud.admission import Admission
from services.cloud.egress import Egress
from services.cloud.engines.loading import Loading
from services.cloud.engines.neighbour import Neighbour
from services.cloud.line import Line
from services.cloud.naming import upstream_s
from services.cloud.pictures import inlined
from services.cloud.work import Work

A = TypeVar("A", Embedded, Reranked)


class Questions:
    """Each answers one question of the bus. Raise MeshError."""

    def __init__(
        self, bus: Bus, line: Line, work: Work, admission: Admission, egress: Egress
    ) -> None:
        self._bus = bus
        self._line = line
        self._work = work
        self._admission = admission
        self._egress = egress
        self._loading = Loading()

    def stop(self) -> None:
        self._loading.stop()

    async def count(self, question: CountTokens) -> Counted:
        await self._admission.expect(question)
        asked = await inlined(self._bus, question)
        async with self._egress.departure(question), self._line.held() as client:
            return Counted(tokens=await client.count(asked))

    async def refuse_tokens(self, question: Tokenize | Detokenize) -> NoReturn:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            f"{question.model} runs upstream, which does not tell tokens without generating.",
            param="model",
        )

    async def set_loaded(self, asked: SetLoaded) -> LoadedSet:
        model = ModelId(upstream_s(asked.model))
        async with self._line.held() as client:
            if not isinstance(client, Neighbour):
                raise MeshError(
                    Code.UNSUPPORTED_PARAMETER,
                    f"{self._egress.upstream.name} has its models always; none is loaded or "
                    "unloaded.",
                    param="model",
                )
            return await self._loading.set(client, model, is_loaded=asked.is_loaded)

    async def embed(self, asked: Embed) -> Embedded:
        async def answer() -> Embedded:
            async with self._line.held() as client:
                return await client.embed(asked)

        return await self._ask(asked, answer())

    async def rerank(self, asked: Rerank) -> Reranked:
        async def answer() -> Reranked:
            async with self._line.held() as client:
                return await client.rerank(asked)

        return await self._ask(asked, answer())

    async def _ask(self, asked: Embed | Rerank, answer: Coroutine[Any, Any, A]) -> A:
        """Raises MeshError; CancelledError when the asker withdraws."""
        with closing(answer):
            await self._admission.expect(asked)
            ticket = self._work.take(asked)
            task = asyncio.current_task()
            assert task is not None, "the bus answers each question in a task"
            self._work.begin(asked, task, ticket)
            async with self._egress.departure(asked) as departure:
                try:
                    async with asyncio.timeout(asked.left_s):
                        await ticket.called.wait()
                        answered = await answer
                except TimeoutError as error:
                    late = "The deadline of the request passed."
                    raise MeshError(Code.DEADLINE, late) from error
                finally:
                    self._work.over(asked.request, ticket)
                departure.usage = Usage(answered.tokens, 0, 0)
            self._work.events += 1
            return answered
