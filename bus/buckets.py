"""All buckets of shared state, for whoever has to look after them and not after one of them."""

from typing import Any, NamedTuple

from bus.connection import Bus
from bus.large import Block
from bus.state import Bucket
from proto.config import CONFIG, ConfigLayer
from proto.dialects.responses.stored import ToldEvents
from proto.jobs import JOBS, Job
from proto.kept import KEPT_ANSWERS
from proto.keys import KEYS, SPENDING, KeyRecord, Spending
from proto.plan import PLANS, NodePlan
from proto.provider import CATALOGS, PROVIDER_KEYS, VAULTS, KnownCatalog, SealedKey, Vault
from proto.state import ENGINES, LEASES, RESPONSE_EVENTS, RESPONSES, EngineRecord, LeaseRecord
from proto.store import STORES, Store
from proto.usage import USAGE, Book, Head


class Kind(NamedTuple):
    """What a bucket holds."""

    record: Any
    is_packed: bool = False


KINDS: dict[str, Kind] = {
    CATALOGS: Kind(KnownCatalog),
    CONFIG: Kind(ConfigLayer),
    ENGINES: Kind(EngineRecord),
    JOBS: Kind(Job),
    KEYS: Kind(KeyRecord),
    KEPT_ANSWERS: Kind(Block, is_packed=True),
    LEASES: Kind(LeaseRecord),
    PLANS: Kind(NodePlan),
    PROVIDER_KEYS: Kind(SealedKey),
    RESPONSE_EVENTS: Kind(ToldEvents, is_packed=True),
    RESPONSES: Kind(Block, is_packed=True),
    SPENDING: Kind(Spending),
    STORES: Kind(Store),
    USAGE: Kind(Book | Head, is_packed=True),
    VAULTS: Kind(Vault),
}


async def unreadable(bus: Bus) -> dict[str, str]:
    """Why each record that cannot be read cannot, by ``bucket/key``. Raises NotConnected."""
    found: dict[str, str] = {}
    for name in KINDS:
        bucket = await _find(bus, name)
        unread = await bucket.unread() if bucket else {}
        found |= {f"{name}/{key}": why for key, why in unread.items()}
    return found


async def drop(bus: Bus, name: str) -> bool:
    """Delete the record of that ``bucket/key``, whatever it is. False: there is none.

    Raises NotConnected.
    """
    bucket_name, _, key = name.partition("/")
    bucket = await _find(bus, bucket_name) if bucket_name in KINDS and key else None
    if bucket is None or key not in await bucket.keys():
        return False
    await bucket.delete(key)
    return True


async def _find(bus: Bus, name: str) -> Bucket[Any] | None:
    kind = KINDS[name]
    return await Bucket.find(bus, name, kind.record, is_packed=kind.is_packed)
