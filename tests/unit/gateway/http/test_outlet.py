"""A client is given up once what waits for it has been the same for too long."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from services.gateway.http.outlet import UNSENT_BYTES, Outlet

STALL_S = 300.0


class Transport(asyncio.Transport):
    """So much waits in it as a test says."""

    def __init__(self) -> None:
        self.link = socket.socket()
        super().__init__({"socket": self.link})
        self.unsent = 0
        self.high: int | None = None
        self.was_aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.was_aborted = True


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.link.close()


@pytest.fixture
def outlet(transport: Transport) -> Outlet:
    return Outlet(transport)


def looks(outlet: Outlet, transport: Transport, *unsent: int) -> None:
    """A look a minute, from now on."""
    now = time.monotonic()
    for minute, size in enumerate(unsent):
        transport.unsent = size
        outlet.look(now + 60 * minute, STALL_S)


def test_who_takes_nothing_for_long_is_cut(outlet, transport):
    looks(outlet, transport, *[500] * 6)
    assert not transport.was_aborted
    looks(outlet, transport, *[500] * 7)

    assert transport.was_aborted
    assert outlet.is_given_up


def test_who_takes_a_little_is_not(outlet, transport):
    looks(outlet, transport, *(10_000 - taken for taken in range(60)))

    assert not transport.was_aborted


def test_an_idle_connection_is_not(outlet, transport):
    looks(outlet, transport, *[0] * 60)

    assert not transport.was_aborted


def test_little_waits_for_a_client(outlet, transport):
    assert transport.high == UNSENT_BYTES
