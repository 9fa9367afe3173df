"""What is measured is the link, and nothing is sent to whoever was not let in."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from proto.ids import NodeId
from proto.link import BULK_BYTES, TICKET_BYTES, Link, LinkOpened
from services.runner.links import measuring
from services.runner.links.responding import Responder
from services.runner.links.wire import PING_BYTES
from tests.unit.runner.links.slow import slow_way

PEER = NodeId("mini")
HERE = "127.0.0.1"


@asynccontextmanager
async def opened(*addresses: str, bulk_bytes: int = 0) -> AsyncIterator[LinkOpened]:
    """A peer that listens until its asker is done."""
    responder = Responder(HERE, bulk_bytes)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(responder.serve())
        yield LinkOpened(
            ticket=responder.ticket,
            port=responder.port,
            addresses=addresses or (HERE,),
            bulk_bytes=bulk_bytes,
        )
        serving.cancel()


async def measured(told: LinkOpened) -> tuple[Link, ...]:
    return await asyncio.to_thread(measuring.measured, PEER, told)


@pytest.mark.parametrize("late_s", [0.003, 0.01])
async def test_a_round_trip_takes_as_long_as_the_way_there_and_back(late_s: float) -> None:
    async with opened() as told:
        with slow_way(told.port, late_s) as port:
            (link,) = await measured(LinkOpened(ticket=told.ticket, port=port, addresses=(HERE,)))

    assert link.round_trip_s == pytest.approx(2 * late_s, rel=0.5)
    assert (link.peer, link.address, link.is_usual) == (PEER, HERE, True)


async def test_bytes_are_counted_and_no_more_come_than_were_offered() -> None:
    async with opened(bulk_bytes=BULK_BYTES) as told:
        (link,) = await measured(told)

    assert link.bytes_per_s > 10e6
    assert link.round_trip_s is not None


async def test_who_has_no_time_for_bytes_is_measured_without() -> None:
    async with opened(bulk_bytes=0) as told:
        (link,) = await measured(told)

    assert link.round_trip_s is not None
    assert link.bytes_per_s == 0


async def test_an_address_that_leads_nowhere_is_told_beside_one_that_does() -> None:
    async with opened("127.0.0.1", "::1") as told:
        usual, other = await measured(told)

    assert usual.round_trip_s is not None
    assert (other.round_trip_s, other.is_usual) == (None, False)
    assert other.trouble


async def test_a_stranger_gets_no_byte_and_the_asker_is_served_all_the_same() -> None:
    async with opened(bulk_bytes=BULK_BYTES) as told:

        def knock() -> bytes:
            with socket.create_connection((HERE, told.port), 5) as stranger:
                stranger.sendall(bytes(TICKET_BYTES) + b"b".ljust(64, b"\0"))
                try:
                    return stranger.recv(1)
                except ConnectionResetError:
                    return b""

        assert await asyncio.to_thread(knock) == b""
        (link,) = await measured(told)

    assert link.bytes_per_s > 0


async def test_another_machine_with_the_same_address_is_not_taken_for_the_peer() -> None:
    with socket.create_server((HERE, 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(connection.recv(TICKET_BYTES))

        answering = asyncio.create_task(asyncio.to_thread(answer))
        told = LinkOpened(ticket=b"t" * 31 + b"x", port=other.getsockname()[1], addresses=(HERE,))
        (link,) = await measured(told)
        await answering

    assert link.round_trip_s is None
    assert "another machine" in link.trouble


async def test_a_peer_stops_listening_once_its_asker_is_done() -> None:
    responder = Responder(HERE, 0)
    serving = asyncio.create_task(responder.serve())
    await measured(LinkOpened(ticket=responder.ticket, port=responder.port, addresses=(HERE,)))

    async with asyncio.timeout(2):
        await serving
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, responder.port), 1)


async def test_a_peer_that_sends_for_ever_is_not_listened_to_for_ever() -> None:
    agreed = 1 << 20
    with socket.create_server((HERE, 0)) as other:

        def flood() -> int:
            connection, _ = other.accept()
            with connection:
                connection.sendall(connection.recv(TICKET_BYTES)[::-1])
                said = connection.recv(PING_BYTES)
                while said.startswith(b"p"):
                    connection.sendall(said)
                    said = connection.recv(PING_BYTES)
                sent = 0
                try:
                    while sent < 64 * agreed:
                        sent += connection.send(bytes(agreed))
                except ConnectionError:
                    return sent
                return sent

        flooding = asyncio.create_task(asyncio.to_thread(flood))
        port = other.getsockname()[1]
        told = LinkOpened(
            ticket=bytes(TICKET_BYTES), port=port, addresses=(HERE,), bulk_bytes=agreed
        )
        (link,) = await measured(told)
        other.close()

    assert link.bytes_per_s > 0
    assert await flooding < 64 * agreed


async def test_a_peer_that_says_its_words_one_by_one_is_given_up() -> None:
    with socket.create_server((HERE, 0)) as other:

        def dawdle() -> None:
            connection, _ = other.accept()
            with connection, suppress(OSError):
                connection.sendall(connection.recv(TICKET_BYTES)[::-1])
                while connection.recv(1):
                    connection.sendall(b"p")
                    time.sleep(0.2)

        dawdling = asyncio.create_task(asyncio.to_thread(dawdle))
        port = other.getsockname()[1]
        begun = time.monotonic()
        (link,) = await measured(
            LinkOpened(ticket=bytes(TICKET_BYTES), port=port, addresses=(HERE,))
        )
        other.close()
        await dawdling

    assert link.round_trip_s is None
    assert time.monotonic() - begun < 8


async def test_a_peer_that_names_a_host_instead_of_an_address_has_nobody_look_it_up() -> None:
    async with opened("localhost", "127.0.0.1") as told:
        (link,) = await measured(told)

    assert (link.address, link.is_usual) == ("127.0.0.1", False)
