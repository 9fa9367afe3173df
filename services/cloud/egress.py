"""What left the local network: told once for each request, and never a word of it."""

import math
import time

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


def begin(asked: Asked) -> Errand:
    """What the running task is about to do at an upstream."""
    run = Errand(moment(asked.left_s) or math.inf, asked.local_only)
    ERRAND.set(run)
    return run


def expect_may_leave(asked: Asked, upstream: Upstream) -> None:
    """Raises MeshError for what must stay in the local network, whoever sent it here."""
    if asked.local_only and leaves(upstream.kind, upstream.url):
        raise MeshError(
            Code.FORBIDDEN,
            f"{upstream.name} is outside the local network, and this request may not leave it.",
        )


async def tell(
    bus: Bus,
    engine: EngineId,
    upstream: Upstream,
    asked: Asked,
    run: Errand,
    usage: Usage,
    status: str,
) -> None:
    """Nothing where nothing left."""
    if not run.calls or not leaves(upstream.kind, upstream.url):
        return
    event = EgressEvent(
        request=asked.request,
        engine=engine,
        provider=upstream.name,
        model=asked.model,
        key=asked.key,
        calls=run.calls,
        sent_bytes=run.sent_bytes,
        received_bytes=run.received_bytes,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        status=status,
        at_s=time.time(),
    )
    await bus.publish(EGRESS_TELEMETRY, event, engine)
