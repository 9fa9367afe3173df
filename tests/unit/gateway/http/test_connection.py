"""A client is given up once what waits for it has been the same for too long."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from services.gateway.http.connection import UNSENT_BYTES, Connection

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
async def connection(transport: Transport) -> Connection:
    config = Config(lambda: None, http=Connection, log_config=None)
    config.load()
    connection = Connection(config, ServerState(), {})
    connection.connection_made(transport)
    return connection


def looks(connection: Connection, transport: Transport, *unsent: int) -> None:
    """A look a minute, from now on."""
    now = time.monotonic()
    for minute, size in enumerate(unsent):
        transport.unsent = size
        connection.look(now + 60 * minute, STALL_S)


async def test_who_takes_nothing_for_long_is_cut(connection, transport):
    looks(connection, transport, *[500] * 6)
    assert not transport.was_aborted
    looks(connection, transport, *[500] * 7)

    assert transport.was_aborted
    assert connection.is_given_up


async def test_who_takes_a_little_is_not(connection, transport):
    looks(connection, transport, *(10_000 - taken for taken in range(60)))

    assert not transport.was_aborted


async def test_an_idle_connection_is_not(connection, transport):
    looks(connection, transport, *[0] * 60)

    assert not transport.was_aborted


async def test_little_waits_for_a_client(connection, transport):
    assert transport.high == UNSENT_BYTES
