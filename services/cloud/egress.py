"""What left the local network: told once for each request, and never a word of it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bus.connection import Bus
from bus.deadline import moment
from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.frames import Usage
from proto.generation import Generate
from proto.ids import EngineId
from proto.subjects import EGRESS_TELEMETRY
from proto.telemetry import EgressEvent
from proto.tokenization import CountTokens
from services.cloud.calling.errand import ERRAND, Errand
from services.cloud.leaving import leaves
from services.cloud.settings import Upstream

Asked = Generate | Embed | Rerank | CountTokens
OK = "ok"
NOTHING = Usage(0, 0, 0)


@dataclass
class Departure:
    """What came of a request, for the event that tells that it left."""

    usage: Usage = NOTHING
    outcome: str = OK


class Egress:
    """The way out to one upstream."""

    def __init__(self, bus: Bus, engine: EngineId, upstream: Upstream) -> None:
        self._bus = bus
        self._engine = engine
        self.upstream = upstream
        """As its operator has it now."""

    def expect_may_leave(self, asked: Asked) -> None:
        """Raises MeshError for what must stay in the local network, whoever sent it here."""
        if asked.local_only and self._leaves:
            raise MeshError(
                Code.FORBIDDEN,
                f"{self.upstream.name} is outside the local network, and this request may not "
                "leave it.",
            )

    @property
    def _leaves(self) -> bool:
        return leaves(self.upstream.kind, self.upstream.url)

    @asynccontextmanager
    async def departure(self, asked: Asked) -> AsyncIterator[Departure]:
        """What the running task does within is told when it is over."""
        errand = Errand(moment(asked.left_s) or math.inf, asked.local_only)
        ERRAND.set(errand)
        departure = Departure()
        try:
            yield departure
        except MeshError as error:
            departure.outcome = error.code.word
            raise
        except asyncio.CancelledError:
            if departure.outcome == OK:
                departure.outcome = Code.CANCELLED.word
            raise
        finally:
            await self._tell(asked, errand, departure)

    async def _tell(self, asked: Asked, errand: Errand, departure: Departure) -> None:
        """Nothing where nothing left."""
        if not errand.calls or not self._leaves:
            return
        event = EgressEvent(
            request=asked.request,
            engine=self._engine,
            provider=self.upstream.name,
            model=asked.model,
            key=asked.key,
            calls=errand.calls,
            sent_bytes=errand.sent_bytes,
            received_bytes=errand.received_bytes,
            prompt_tokens=departure.usage.prompt_tokens,
            completion_tokens=departure.usage.completion_tokens,
            status=departure.outcome,
            at_s=time.time(),
        )
        await self._bus.publish(EGRESS_TELEMETRY, event, self._engine)
