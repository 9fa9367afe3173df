"""That shared state is kept on as many bus servers as it should be."""

import asyncio
import logging

from bus.connection import Bus
from bus.errors import BusError
from bus.lease import Lease
from bus.provision import spread

log = logging.getLogger(__name__)

LOOK_S = 10.0


async def keep_copies(bus: Bus, lease: Lease) -> None:
    """For ever; only the scheduler that leads does anything."""
    while True:
        await asyncio.sleep(LOOK_S)
        if not lease.is_held:
            continue
        try:
            await spread(bus)
        except BusError as error:
            log.info("copies of the state are looked at again: %s", error)
