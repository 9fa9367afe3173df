"""The side that measures: how long a small message takes there and back, how fast bytes come."""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from proto.ids import NodeId
from proto.link import TICKET_BYTES, Link, LinkOpened
from services.runner.links.addresses import is_address
from services.runner.links.wire import (
    BULK,
    DONE,
    PATIENCE_S,
    PING,
    PING_BYTES,
    WHOLE_S,
    read_exactly,
)

CONNECT_S = 0.5
WARMING = 3
"""Round trips that are not counted: connections begin slowly."""
ROUND_TRIPS = 21
LONG_S = 0.5
"""A slow link is not asked as often."""
LONGEST_BULK_S = 1.0
"""What is on its way when the other side stops may take longer than it sent."""


def measured(peer: NodeId, opened: LinkOpened) -> tuple[Link, ...]:
    """By each address that the peer has told. It takes a moment: to be called in a thread."""
    found = tuple(
        _measured(peer, opened, address, is_usual=at == 0)
        for at, address in enumerate(opened.addresses)
        if is_address(address)
    )
    reached = next((link for link in found if link.round_trip_s is not None), None)
    if reached is not None:
        with suppress(OSError), _connected(opened, reached.address) as connection:
            connection.sendall(DONE)
    return found


@contextmanager
def _connected(opened: LinkOpened, address: str) -> Iterator[socket.socket]:
    """Raises OSError."""
    with socket.create_connection((address, opened.port), CONNECT_S) as connection:
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(opened.ticket)
        # Addresses such as a container bridge's are many machines', this one's among them.
        end = time.monotonic() + WHOLE_S
        if read_exactly(connection, TICKET_BYTES, end) != opened.ticket[::-1]:
            raise ConnectionError("another machine answers there")
        yield connection


def _measured(peer: NodeId, opened: LinkOpened, address: str, *, is_usual: bool) -> Link:
    try:
        with _connected(opened, address) as connection:
            round_trip_s = _round_trip_s(connection)
            rate = _bytes_per_s(connection, opened.bulk_bytes)
    except TimeoutError:
        trouble = f"no answer in {CONNECT_S:g} s"
    except OSError as error:
        trouble = error.strerror or str(error)
    else:
        return Link(
            peer=peer,
            address=address,
            is_usual=is_usual,
            round_trip_s=round_trip_s,
            bytes_per_s=rate,
        )
    return Link(peer=peer, address=address, is_usual=is_usual, trouble=trouble)


def _round_trip_s(connection: socket.socket) -> float:
    taken: list[float] = []
    begun = time.perf_counter()
    end = time.monotonic() + WHOLE_S
    for _ in range(WARMING + ROUND_TRIPS):
        sent = time.perf_counter()
        connection.sendall(PING)
        read_exactly(connection, PING_BYTES, end)
        taken.append(time.perf_counter() - sent)
        if taken[-1] + sent - begun > LONG_S and len(taken) > WARMING:
            break
    return statistics.median(taken[WARMING:])


def _bytes_per_s(connection: socket.socket, bulk_bytes: int) -> float:
    """From the first bytes on; 0 where so few came that they say nothing."""
    if not bulk_bytes:
        return 0.0
    connection.sendall(BULK)
    buffer = bytearray(256 << 10)
    connection.recv_into(buffer)
    begun = last = time.perf_counter()
    count = 0
    # Whoever sends more than was agreed, or for ever, is not listened to.
    while count < bulk_bytes and last - begun < LONGEST_BULK_S:
        if not (size := connection.recv_into(buffer)):
            break
        count += size
        last = time.perf_counter()
    return count / (last - begun) if count and last > begun else 0.0
