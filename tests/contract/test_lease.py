"""What a lease promises: one leads at a time, soon another does, and the late are told apart."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bus.connection import Bus
from bus.errors import Conflict
from bus.lease import AGAIN_S, Lease, lead
from bus.state import Bucket
from proto.ids import fresh
from proto.state import LEASE_S, LEASES, LeaseRecord
from tests.conftest import NatsServer


async def candidate(bus: Bus, name: str, holder: str) -> Lease:
    return await Lease.open(bus, name, holder, boot=fresh())


async def taken(lease: Lease, within_s: float) -> float:
    """Seconds until it was."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await lease.take():
            await asyncio.sleep(AGAIN_S)
    return time.monotonic() - began


async def test_of_two_candidates_one_holds_it_and_the_other_knows_who(bus: Bus) -> None:
    name = fresh()
    first, second = await candidate(bus, name, "a"), await candidate(bus, name, "b")

    assert await first.take()
    assert not await second.take()
    assert first.is_held
    assert not second.is_held
    assert (second.leader, second.epoch) == ("a", first.epoch)


async def test_a_renewed_lease_keeps_its_epoch(bus: Bus) -> None:
    lease = await candidate(bus, fresh(), "a")
    await lease.take()
    epoch = lease.epoch

    for _ in range(3):
        assert await lease.renew()
    assert lease.epoch == epoch


async def test_a_holder_that_falls_silent_is_followed_in_less_than_three_seconds(bus: Bus) -> None:
    name = fresh()
    first, second = await candidate(bus, name, "a"), await candidate(bus, name, "b")
    await first.take()

    assert LEASE_S - 0.5 < await taken(second, 3.0) < 3.0
    assert not first.is_held
    assert second.epoch > first.epoch


async def test_a_lease_that_the_server_forgets_to_end_is_over_by_the_clock_of_who_waits(
    bus: Bus,
) -> None:
    """Its clock was put back, as by a bucket that keeps records for ever."""
    records = await Bucket.open(bus, fresh(), LeaseRecord)
    first, now_s = Lease(records, "it", "a", fresh()), 0.0
    second = Lease(records, "it", "b", fresh(), now=lambda: now_s)
    await first.take()

    assert not await second.take()
    now_s += LEASE_S
    assert not await second.take()
    assert await first.renew()
    now_s += LEASE_S
    assert not await second.take()
    now_s += LEASE_S + 1.0
    assert await second.take()
    assert not await first.renew()


async def test_a_holder_that_was_stopped_finds_that_it_is_over(bus: Bus) -> None:
    """Its own clock says so before anybody else can lead, and its next renewal fails."""
    name, skipped = fresh(), 0.0
    records = await Bucket.open(bus, LEASES, LeaseRecord)
    first = Lease(records, name, "a", fresh(), now=lambda: time.monotonic() - skipped)
    second = await candidate(bus, name, "b")
    await first.take()
    began = time.monotonic()
    await taken(second, 3.0)
    skipped = time.monotonic() - began  # As if its clock had stood meanwhile.

    assert first.is_held
    assert not await first.renew()
    assert not first.is_held
    assert second.is_held


async def test_what_a_stale_holder_writes_at_its_old_revision_fails(bus: Bus) -> None:
    name = fresh()
    first, second = await candidate(bus, name, "a"), await candidate(bus, name, "b")
    await first.take()
    await taken(second, 3.0)
    records = await Bucket.open(bus, LEASES, LeaseRecord)

    with pytest.raises(Conflict):
        await records.swap(name, LeaseRecord(holder="a", boot="x", epoch=1), first.epoch)


async def test_a_released_lease_is_free_at_once(bus: Bus) -> None:
    name = fresh()
    first, second = await candidate(bus, name, "a"), await candidate(bus, name, "b")
    await first.take()
    await first.release()

    assert await second.take()


async def test_a_renewal_whose_answer_was_lost_counts(bus: Bus) -> None:
    lease = await candidate(bus, fresh(), "a")
    await lease.take()
    before = lease._revision
    assert await lease.renew()
    lease._revision = before  # As it is when the answer never came.

    assert await lease.renew()


@pytest.fixture
async def own_bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with Bus.connect(nats_server.url, "test:lease") as bus:
        yield bus


async def test_it_survives_a_restart_of_the_server(nats_server: NatsServer, own_bus: Bus) -> None:
    lease = await candidate(own_bus, "l", "a")
    await lease.take()
    nats_server.kill()
    nats_server.start()

    assert await lease.renew()


async def test_a_reign_ends_before_its_lease_could_be_another_s(
    nats_server: NatsServer, own_bus: Bus
) -> None:
    lease = await candidate(own_bus, "l", "a")
    began, over, back = asyncio.Event(), asyncio.Event(), asyncio.Event()
    own_bus.on_reconnect.append(back.set)

    async def reign(_: int) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    leading = asyncio.create_task(lead(lease, reign))
    await asyncio.wait_for(began.wait(), 5)
    nats_server.kill()
    died = time.monotonic()
    await asyncio.wait_for(over.wait(), LEASE_S + 0.5)

    assert time.monotonic() - died <= LEASE_S
    leading.cancel()
    await asyncio.wait({leading})
    nats_server.start()
    await back.wait()


async def test_who_stops_leading_lets_the_next_one_begin_at_once(bus: Bus) -> None:
    name = fresh()
    first, second = await candidate(bus, name, "a"), await candidate(bus, name, "b")
    epochs: asyncio.Queue[int] = asyncio.Queue()

    async def reign(epoch: int) -> None:
        epochs.put_nowait(epoch)
        await asyncio.Event().wait()

    leading = asyncio.create_task(lead(first, reign))
    begun = await asyncio.wait_for(epochs.get(), 5)
    waiting = asyncio.create_task(lead(second, reign))
    leading.cancel()
    await asyncio.wait({leading})

    assert await asyncio.wait_for(epochs.get(), 1.5) > begun
    waiting.cancel()
    await asyncio.wait({waiting})
