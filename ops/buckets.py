"""The buckets of a mesh: made by whoever brings the bus along.

Who could change a bucket could have it record what others say.
"""

from typing import Any

from bus import audit, usage
from bus.connection import Bus
from bus.lease import LIMITS as LEASE_LIMITS
from bus.permissions import BUCKETS
from bus.provision import Limits
from bus.state import Bucket
from proto.jobs import JOBS
from proto.kept import KEPT_ANSWERS
from proto.state import LEASES, RESPONSE_EVENTS, RESPONSES
from proto.usage import USAGE
from services.gateway.settings import kept_answers, stored_responses
from services.gateway.stored.store import EVENTS
from services.scheduler.known import JOB_LIMITS


def limits() -> dict[str, Limits]:
    """Of those that have any. Raises SettingError."""
    return {
        LEASES: LEASE_LIMITS,
        JOBS: JOB_LIMITS,
        RESPONSES: stored_responses(),
        RESPONSE_EVENTS: EVENTS,
        KEPT_ANSWERS: kept_answers(),
        USAGE: usage.BOOKS,
    }


async def make(bus: Bus) -> None:
    """All that any role keeps records in. Raises NotConnected, SettingError."""
    known = limits()
    for name in BUCKETS:
        await Bucket.open(bus, name, Any, known.get(name))
    await audit.open_log(bus)
    await usage.open_reports(bus)
