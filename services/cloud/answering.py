"""Answers of an upstream: its pieces become frames, which their readers may hold back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bus.connection import Bus
from bus.sink import TokenSink, digest_of
from proto.errors import Code, MeshError
from proto.frames import AnyFrame
from proto.generation import Accepted, Cancel, Generate
from proto.ids import RequestId
from services.cloud.admission import Admission
from services.cloud.client import Client, Forwarding
from services.cloud.egress import Egress
from services.cloud.frames import Frames
from services.cloud.line import Line
from services.cloud.pictures import inlined
from services.cloud.piece import Piece
from services.cloud.turns import Ticket
from services.cloud.work import Work


class Answering:
    """Generations, each in a task of its own."""

    def __init__(
        self,
        bus: Bus,
        sink: TokenSink,
        line: Line,
        work: Work,
        admission: Admission,
        egress: Egress,
    ) -> None:
        self._bus = bus
        self._sink = sink
        self._line = line
        self._work = work
        self._admission = admission
        self._egress = egress
        self._may_read: dict[RequestId, asyncio.Event] = {}
        """Cleared while the request's client does not read."""

    @property
    def parked(self) -> int:
        return sum(not event.is_set() for event in self._may_read.values())

    async def generate(self, request: Generate) -> Accepted:
        """Raises MeshError."""
        await self._end_before(request)
        if self._sink.knows(request.request, request.epoch):
            self._sink.resend(request)
            if (running := self._work.of(request.request)) is None:
                return Accepted(prompt_tokens=0)
            running.gateway = request.gateway
            return Accepted(prompt_tokens=0, place=self._work.turns.place(running.ticket))
        if request.continues is not None:
            name = self._egress.upstream.name
            raise MeshError(Code.NO_ENGINE, f"{name} cannot go on with another engine's answer.")
        await self._admission.expect(request)
        ticket = self._work.take(request)
        self._sink.open(request.request, request.gateway, request.epoch, digest_of(request))
        task = asyncio.create_task(self._run(request, ticket))
        self._work.begin(request, task, ticket)
        task.add_done_callback(lambda _: self._work.over(request.request, ticket))
        return Accepted(prompt_tokens=0, place=self._work.turns.place(ticket))

    async def _end_before(self, request: Generate) -> None:
        """What runs of an earlier attempt."""
        running = self._work.of(request.request)
        if running is not None and not self._sink.knows(request.request, request.epoch):
            running.task.cancel()
            await asyncio.wait({running.task})

    def cancel(self, cancel: Cancel) -> None:
        running = self._work.of(cancel.request)
        is_past = cancel.epoch is not None and self._sink.knows(cancel.request, cancel.epoch + 1)
        if running is not None and not is_past:
            running.task.cancel()

    def hold(self, request: RequestId) -> None:
        """Its client does not read: nothing more is read from the upstream until it does."""
        if request in self._may_read:
            self._may_read[request].clear()

    def go_on(self, request: RequestId) -> None:
        if request in self._may_read:
            self._may_read[request].set()

    async def _run(self, request: Generate, ticket: Ticket) -> None:
        frames = Frames(request)
        may_read = self._may_read[request.request] = asyncio.Event()
        may_read.set()
        async with self._egress.departure(request) as departure:
            try:
                await self._hand_on(request, ticket, frames, may_read)
            except MeshError as error:
                self._send(request, frames.failed(error))
            except TimeoutError:
                late = MeshError(Code.DEADLINE, "The deadline of the request passed.")
                self._send(request, frames.failed(late))
            except asyncio.CancelledError:
                running = self._work.of(request.request)
                assert running is not None, "it is at work until its task is over"
                self._send(request, frames.failed(running.why))
                raise
            finally:
                del self._may_read[request.request]
                departure.usage, departure.outcome = frames.usage, frames.outcome

    async def _hand_on(
        self, request: Generate, ticket: Ticket, frames: Frames, may_read: asyncio.Event
    ) -> None:
        """Raises MeshError and TimeoutError."""
        async with asyncio.timeout(request.left_s), aclosing(self._pieces(request)) as pieces:
            await ticket.called.wait()
            self._send(request, frames.began())
            async for piece in pieces:
                self._work.events += 1
                for frame in frames.of(piece):
                    self._send(request, frame)
                await may_read.wait()
            self._send(request, frames.ended())

    async def _pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        asked = await inlined(self._bus, request)
        async with self._line.held() as client, aclosing(_answer(client, asked)) as pieces:
            async for piece in pieces:
                yield piece

    def _send(self, request: Generate, frame: AnyFrame) -> None:
        self._sink.send([(request.request, frame)])


def _answer(client: Client, asked: Generate) -> AsyncGenerator[Piece, None]:
    """Raises MeshError."""
    if asked.verbatim is None:
        return client.generate(asked)
    if not isinstance(client, Forwarding) or asked.verbatim.endpoint not in client.speaks:
        # Whoever asked has heard of the client before this one.
        raise MeshError(Code.NO_ENGINE, "The upstream has changed; try again.", retry_after_s=1.0)
    return client.forward(asked)
