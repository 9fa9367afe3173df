"""The gateway's one clock: engines that died under a request, cancels that must be heard."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from bus.token_stream import TokenStream
from proto.embedding import Embed, Rerank
from proto.generation import Cancel, Generate
from proto.ids import EngineId, ModelId, RequestId
from proto.presence import SILENCE_S, STALL_S, Gone
from proto.subjects import CANCEL, ENGINE_GONE, Question
from services.gateway.asking.dispatch import Generation
from services.gateway.asking.enquiry import Enquiry, Reply
from services.gateway.asking.mesh import Mesh
from services.gateway.asking.wait import Tell

M = TypeVar("M", bound=Embed | Rerank)
A = TypeVar("A")

LOOK_S = 0.25
REPEAT_S = 1.0
CANCELS = 5
"""How often a cancel is said, since an engine may not know the request yet."""


class Placed(Protocol):
    """What waits for an engine."""

    engine: EngineId | None
    boot: str
    placed_at: float

    def lose(self) -> None:
        """The engine is gone."""


class Watch:
    """Knows all that waits for an engine, and keeps it company until the engine has let go, too."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._open: set[Generation] = set()
        self._enquiries: set[Enquiry[Any, Any]] = set()
        self._abandoned: dict[TokenStream, tuple[float, int]] = {}
        """When a cancel is said next, and how many more times."""
        self._parting: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        await self._mesh.bus.listen(ENGINE_GONE, self._hear_gone)
        self._mesh.bus.on_reconnect.append(self._ask_again)

    def generation(
        self,
        question: Generate,
        tell: Tell | None = None,
        others: Iterable[Generate] = (),
        *,
        is_gathered: bool = False,
    ) -> Generation:
        """``others`` ask other models for the same, where this one cannot take it."""
        generation = Generation(self._mesh, self, question, tell, others, is_gathered=is_gathered)
        self._open.add(generation)
        return generation

    async def enquire(
        self,
        subject: Question[M, A],
        question: M,
        *,
        request: RequestId,
        model: ModelId,
        chars: int,
    ) -> Reply[A]:
        """Any engine's answer to a question, whose own id ``request`` is. Raises MeshError."""
        enquiry = Enquiry(self._mesh, subject, question, request, model, chars)
        self._enquiries.add(enquiry)
        try:
            return await enquiry.answer()
        finally:
            self._enquiries.discard(enquiry)

    def forget(self, generation: Generation) -> None:
        self._open.discard(generation)

    async def abandon(self, stream: TokenStream) -> None:
        """Tell the engine that nobody waits any more, until it has heard it."""
        self._abandoned[stream] = (time.monotonic() + REPEAT_S, CANCELS - 1)
        await self._cancel(stream)

    async def _cancel(self, stream: TokenStream) -> None:
        """This attempt only: a later one may be at the same engine."""
        if stream.engine is not None:
            cancel = Cancel(request=stream.request, epoch=stream.epoch)
            await self._mesh.bus.publish(CANCEL, cancel, stream.engine)

    def _hear_gone(self, gone: Gone) -> None:
        parting = asyncio.create_task(self._part_from(gone))
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)

    async def _part_from(self, gone: Gone) -> None:
        """Frames have a connection of their own: its last words may be heard after its farewell."""
        await self._mesh.source.settled()
        self._lose(
            placed
            for placed in self._placed()
            if placed.engine == gone.id and gone.boot in ("", placed.boot)
        )

    def _placed(self) -> list[Placed]:
        return [*self._open, *self._enquiries]

    def _ask_again(self) -> None:
        """An answer that came while the bus was away came to nobody, and has no replay."""
        self._lose([*self._enquiries, *(each for each in self._open if each.is_asking)])

    async def run(self) -> None:
        """Look around for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            if not self._mesh.bus.ear.is_excused(SILENCE_S):
                self._lose(self._unserved(now))
            await self._repeat_cancels(now)

    def _unserved(self, now: float) -> list[Placed]:
        """Those whose engine is silent, stuck, or has been born again."""
        boots = {e.engine: e.boot for e in self._mesh.fleet.engines() if e.stalled_s < STALL_S}
        return [
            placed
            for placed in self._placed()
            if placed.engine is not None
            and now - placed.placed_at > SILENCE_S
            and boots.get(placed.engine) != placed.boot
        ]

    def _lose(self, lost: Iterable[Placed]) -> None:
        for placed in list(lost):
            placed.lose()

    async def _repeat_cancels(self, now: float) -> None:
        for stream, (at, left) in list(self._abandoned.items()):
            stream.take()
            if stream.is_over or not left:
                del self._abandoned[stream]
                self._mesh.source.close(stream)
            elif now >= at:
                self._abandoned[stream] = (now + REPEAT_S, left - 1)
                await self._cancel(stream)
