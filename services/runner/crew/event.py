"""The phases of engines' lives, told to operators."""

import time

from bus.connection import Bus
from proto.ids import NodeId
from proto.presence import EngineStatus
from proto.subjects import EVENT_TELEMETRY
from proto.telemetry import EngineEvent, Phase


async def tell(bus: Bus, node: NodeId, of: EngineStatus, phase: Phase, detail: str = "") -> None:
    event = EngineEvent(
        engine=of.engine, node=node, model=of.model, phase=phase, detail=detail, at_s=time.time()
    )
    await bus.publish(EVENT_TELEMETRY, event, of.engine)
