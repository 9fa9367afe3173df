"""Records of the mesh's state that nobody can read, and their repair."""

from dataclasses import dataclass

from bus.connection import Bus

GARBAGE = b"\x00\xff not a record"


@dataclass(frozen=True)
class Spoilt:
    """A record as it was, and the revision at which it became unreadable."""

    bucket: str
    key: str
    before: bytes
    revision: int


async def spoil(bus: Bus, bucket: str, key: str) -> Spoilt:
    records = await bus.jetstream.key_value(bucket)
    before = (await records.get(key)).value or b""
    return Spoilt(bucket, key, before, await records.put(key, GARBAGE))


async def repair(bus: Bus, spoilt: Spoilt) -> None:
    """As an operator would from a copy, unless the mesh has written the record anew."""
    records = await bus.jetstream.key_value(spoilt.bucket)
    entry = await records.get(spoilt.key)
    if entry.revision == spoilt.revision:
        await records.put(spoilt.key, spoilt.before)
