"""Usage on a real bus server: every request is in the books once, whoever is lost on the way."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from msgspec.structs import replace

from bus import usage
from bus.connection import Bus
from bus.errors import BusError, NotConnected
from bus.keys import open_spending
from bus.lease import Lease, lead
from bus.mirror import Mirror
from proto.ids import GatewayId, fresh
from proto.keys import Spending
from proto.usage import HEAD, LEASE_OF_BOOKS, NOTHING, USED, Amounts, Head, Item, Mark, day_of
from services.gateway.keys.unsettled import Unsettled
from services.gateway.metering.outbox import Outbox
from services.health.bookkeeping.bookkeeper import Bookkeeper, Books
from tests.conftest import NatsServer

NOON = 1_796_040_000.0
DAY = day_of(NOON)
ONE = Amounts(requests=1, prompt_tokens=3, completion_tokens=2, cost_nano_usd=7)


def outbox() -> Outbox:
    boot = fresh()
    return Outbox(GatewayId(f"gateway.{boot}"), boot, Unsettled(), lambda: NOON)


def times(amounts: Amounts, count: int) -> Amounts:
    return sum([amounts] * count, NOTHING)


async def rows(bus: Bus) -> dict[Item, Amounts]:
    books = await usage.read_books(bus, [DAY])
    return dict(books[DAY].rows) if DAY in books else {}


async def enter_all(bus: Bus) -> None:
    books = await Books.begin(bus)
    while await books.enter():
        pass


@pytest.fixture
async def own_bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """Of a server of its own: there is one set of books on each."""
    async with Bus.connect(nats_server.url, "test:usage") as bus:
        yield bus


class CutOff(Exception):
    """The bookkeeper died here."""


def cut_at(monkeypatch: pytest.MonkeyPatch, place: int, *, is_done: bool) -> None:
    """At the write of that number, before or after it."""
    left = place
    change, drop = Mirror.change, usage.drop_reports

    def cutting(write: Callable[..., Any]) -> Callable[..., Any]:
        async def written(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not is_done:
                raise CutOff
            came = await write(*arguments)
            if left == 0:
                raise CutOff
            return came

        return written

    monkeypatch.setattr(Mirror, "change", cutting(change))
    monkeypatch.setattr(usage, "drop_reports", cutting(drop))


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_bookkeeper_may_be_lost_before_and_after_each_write(
    own_bus: Bus, is_done: bool
) -> None:
    ci, team = Item("ci", "tiny", ""), Item("team", "or:big", "or")
    served, place, was_cut = 0, 0, True
    while was_cut:
        served, place = served + 1, place + 1
        sent = outbox()
        sent.add(ci, ONE)
        sent.add(team, ONE)
        await sent.empty(own_bus)
        with pytest.MonkeyPatch.context() as patch:
            cut_at(patch, place, is_done=is_done)
            was_cut = False
            try:
                await enter_all(own_bus)
            except CutOff:
                was_cut = True
        await enter_all(own_bus)

        assert await rows(own_bus) == {ci: times(ONE, served), team: times(ONE, served)}
    assert place > 5, "a day, two accounts, the head, what is taken out"
    spending = await open_spending(own_bus)
    for account in ("ci", "team"):
        found = await spending.get(account)
        assert found
        assert (found[0].in_all, found[0].nano_usd_in_all) == (5 * served, 7 * served)
    assert (await own_bus.jetstream.stream_info(USED)).state.messages == 0


async def test_a_report_whose_keeping_was_not_heard_of_is_said_again_and_counts_once(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, said = usage.report, 0

    async def unheard(bus: Bus, told: Any) -> int:
        nonlocal said
        said += 1
        sequence = await report(bus, told)
        if said % 2:
            raise NotConnected("the answer was lost")
        return sequence

    monkeypatch.setattr(usage, "report", unheard)
    monkeypatch.setattr("services.gateway.metering.outbox.AGAIN_S", 0.0)
    sent, item = outbox(), Item("ci", "tiny", "")
    for _ in range(3):
        sent.add(item, ONE)
        await sent.empty(own_bus)

    assert (await own_bus.jetstream.stream_info(USED)).state.messages == 6
    await enter_all(own_bus)
    assert await rows(own_bus) == {item: times(ONE, 3)}


async def test_what_is_served_while_the_bus_is_away_is_added_up_and_lost_by_nobody(
    nats_server: NatsServer, own_bus: Bus
) -> None:
    sent, item = outbox(), Item("ci", "tiny", "")
    nats_server.kill()
    sending = asyncio.create_task(sent.run(own_bus))
    for _ in range(1000):
        sent.add(item, ONE)
        await asyncio.sleep(0)
    nats_server.start()
    try:
        async with asyncio.timeout(20):
            while not sent.is_empty:
                await asyncio.sleep(0.02)
    finally:
        sending.cancel()

    assert (await own_bus.jetstream.stream_info(USED)).state.messages <= 2
    await enter_all(own_bus)
    assert await rows(own_bus) == {item: times(ONE, 1000)}


async def test_reports_of_one_gateway_in_anothers_name_are_in_no_book(own_bus: Bus) -> None:
    sent, forged = outbox(), outbox()
    sent.add(Item("ci", "tiny", ""), ONE)
    await sent.empty(own_bus)
    forged.add(Item("victim", "tiny", ""), ONE)
    body = usage.USAGE_REPORT.encode(forged._next())
    await own_bus.jetstream.publish("mesh.v1.usage.gateway.other", body)
    await own_bus.jetstream.publish("mesh.v1.usage.gateway.other", b"\xff nonsense")

    await enter_all(own_bus)
    assert set(await rows(own_bus)) == {Item("ci", "tiny", "")}
    assert own_bus.unread.told().messages == 2


async def test_one_that_was_stopped_and_wakes_up_late_changes_nothing(own_bus: Bus) -> None:
    item = Item("ci", "tiny", "")
    late = await Books.begin(own_bus)
    sent = outbox()
    sent.add(item, ONE)
    await sent.empty(own_bus)
    await enter_all(own_bus)
    sent.add(item, ONE)
    await sent.empty(own_bus)

    with pytest.raises(BusError):
        await late.enter()
    assert await rows(own_bus) == {item: ONE}
    await enter_all(own_bus)
    assert await rows(own_bus) == {item: times(ONE, 2)}


async def test_what_takes_the_place_of_reports_that_a_power_cut_took_is_counted(
    own_bus: Bus,
) -> None:
    sent, item = outbox(), Item("ci", "tiny", "")
    for _ in range(3):
        sent.add(item, ONE)
        await sent.empty(own_bus)
    await enter_all(own_bus)
    await own_bus.jetstream.delete_stream(USED)
    made = (await usage.open_reports(own_bus)).made
    books = await usage.open_books(own_bus)
    # The same stream as far as anybody can tell, whose last three reports are gone.
    for key in (HEAD, DAY):
        record, revision = await books.get(key) or pytest.fail(key)
        await books.swap(key, replace(record, counted=Mark(made, 3)), revision)
    sent.add(item, ONE)
    await sent.empty(own_bus)

    await enter_all(own_bus)
    assert await rows(own_bus) == {item: times(ONE, 4)}


@asynccontextmanager
async def bookkeeper(bus: Bus) -> AsyncIterator[None]:
    """As the health service has one."""
    lease = await Lease.open(bus, LEASE_OF_BOOKS, fresh(), fresh())
    task = asyncio.create_task(lead(lease, lambda _: Bookkeeper(bus).last()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_many_gateways_two_bookkeepers_and_a_bus_that_dies_come_to_the_exact_sum(
    nats_server: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bookkeeper is ended again and again, and the bus server is killed twice."""
    monkeypatch.setattr("services.gateway.metering.outbox.AGAIN_S", 0.05)
    await usage.open_reports(own_bus)
    chance = random.Random(7)
    served: dict[Item, Amounts] = {}
    is_over = asyncio.Event()

    async def gateway() -> None:
        async with Bus.connect(nats_server.url, f"gateway:{fresh()}") as bus:
            sent = outbox()
            sending = asyncio.create_task(sent.run(bus))
            for _ in range(250):
                item = Item(chance.choice(("ci", "team")), chance.choice(("a", "b")), "")
                amounts = Amounts(1, chance.randrange(9), chance.randrange(9), cost_nano_usd=3)
                served[item] = served.get(item, NOTHING) + amounts
                sent.add(item, amounts)
                await asyncio.sleep(chance.random() / 100)
            while not sent.is_empty:
                await asyncio.sleep(0.02)
            sending.cancel()

    async def keep_books() -> None:
        async with Bus.connect(nats_server.url, f"health:{fresh()}") as bus:
            while not is_over.is_set():
                with suppress(BusError):
                    async with bookkeeper(bus):
                        with suppress(TimeoutError):
                            await asyncio.wait_for(is_over.wait(), 0.2 + chance.random())

    async def harm() -> None:
        for _ in range(2):
            await asyncio.sleep(0.7)
            nats_server.kill()
            nats_server.start()

    keeping = [asyncio.create_task(keep_books()) for _ in range(2)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(gateway() for _ in range(4)), harm())
        async with bookkeeper(own_bus):
            while (await own_bus.jetstream.stream_info(USED)).state.messages:
                await asyncio.sleep(0.05)
        is_over.set()
        await asyncio.gather(*keeping)

    assert await rows(own_bus) == served
    spending = await open_spending(own_bus)
    for account in ("ci", "team"):
        spent, _ = await spending.get(account) or (Spending(), 0)
        mine = [amounts for item, amounts in served.items() if item.key == account]
        assert spent.in_all == sum(amounts.tokens for amounts in mine)
        assert spent.nano_usd_in_all == sum(amounts.cost_nano_usd for amounts in mine)
    head = await (await usage.open_books(own_bus)).get(HEAD)
    assert head
    assert isinstance(head[0], Head)
    assert len(head[0].boots) == 4
