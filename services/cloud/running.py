"""A request that an upstream is at, or will be."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from proto.errors import Code, MeshError
from proto.ids import GatewayId
from services.cloud.turns import Ticket


@dataclass
class Running:
    gateway: GatewayId
    task: asyncio.Task[Any]
    ticket: Ticket
    why: MeshError = field(default_factory=lambda: MeshError(Code.CANCELLED, "It was cancelled."))
    """What its reader hears when the task is cancelled."""
