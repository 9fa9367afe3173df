"""A bus of several servers is held to the same as one: to each its part, nobody without a key."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error

from bus import embedded
from bus.address import Address
from bus.connection import Bus
from bus.home import HomeError
from ops.joining.servers import init
from proto.credentials import Dismiss, Dismissed, InvitedRole, ListCredentials, Rotate
from proto.subjects import CREDENTIALS, DISMISS, ROTATE
from tests.faults.cluster import HOST, Cluster
from tests.security.test_bus import ATTACKS, EVERYBODYS_ATTACKS, Trying


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.start().ready().keep()
    finally:
        cluster.end()


@pytest.mark.parametrize("number", range(3))
async def test_nobody_comes_in_without_a_key_or_in_plain(cluster: Cluster, number: int) -> None:
    seat = cluster.access.seats[number]
    known = Address.parse(cluster.access.url("ops", "home", seat.address))
    for wrong in (
        {"user": "mesh", "password": "guess"},
        {},
        {"tls": known.dialled("x")["tls"], "tls_hostname": cluster.access.name},
    ):
        with pytest.raises((Error, OSError)):
            await Client().connect(
                f"nats://{seat.address}",
                allow_reconnect=False,
                connect_timeout=2,
                max_reconnect_attempts=0,
                **wrong,
            )


async def test_a_stranger_is_not_taken_for_a_server(cluster: Cluster) -> None:
    """Routes hear everything: what a server says first without a certificate ends it."""
    seat = cluster.access.seats[0]
    reader, writer = await asyncio.open_connection(HOST, seat.route_port)
    writer.write(
        b'CONNECT {"verbose":false,"name":"spy","cluster":"odyssai"}\r\nPING\r\nSUB > 1\r\n'
    )
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    assert b"PONG" not in said
    assert b"MSG" not in said


@pytest.mark.parametrize(("role", "name"), [("runner", "hall"), ("gateway", "port-1")])
async def test_each_role_is_refused_what_is_not_its_part(
    cluster: Cluster, role: InvitedRole, name: str
) -> None:
    url = Address.parse(await cluster.url(role, name))
    tried, attacks = Trying(), ATTACKS[role]
    await tried.client.connect(**url.dialled("test:try"), error_cb=tried.note)
    said = [*EVERYBODYS_ATTACKS["publish"], *attacks["publish"]]
    heard = [*EVERYBODYS_ATTACKS["hears"], *attacks["hears"]]
    let_through = [address for address in said if await tried.publishes(address)]
    let_through += [address for address in heard if await tried.hears(address)]
    await tried.client.close()
    assert let_through == []


async def test_who_is_withdrawn_is_cut_off_at_every_server_and_stays_out(cluster: Cluster) -> None:
    addresses = [seat.address for seat in cluster.access.seats]
    await cluster.url("runner", "leaver")
    ways = [cluster.access.url("runner", "leaver", address) for address in addresses]
    async with Bus.connect(cluster.access.url("console"), "test:console") as console:
        gone = [asyncio.Event() for _ in ways]
        lines = [Bus.connect(way, "test:leaver") for way in ways]
        buses = [await line.__aenter__() for line in lines]
        for bus, event in zip(buses, gone, strict=True):
            bus.on_refusal.append(event.set)
        assert await console.ask(DISMISS, Dismiss(holder="runner.leaver")) == Dismissed()
        async with asyncio.timeout(10):
            await asyncio.gather(*(event.wait() for event in gone))
        for line in lines:
            await line.__aexit__(None, None, None)


async def test_keys_and_the_servers_certificate_are_renewed_while_others_go_on(
    cluster: Cluster,
) -> None:
    await cluster.url("gateway", "port-2")
    async with (
        Bus.connect(cluster.access.url("console"), "test:console") as console,
        Bus.connect(cluster.access.url("gateway", "port-2"), "test:gateway") as gateway,
    ):
        before = await fingerprints(console)
        for what in ("certificate", "gateway.port-2"):
            await console.ask(ROTATE, Rotate(credential=what))
        assert before["port-2"] != (await fingerprints(console))["port-2"]
        assert gateway.is_connected
    async with Bus.connect(cluster.access.url("gateway", "port-2"), "test:again") as again:
        assert again.is_connected


async def fingerprints(console: Bus) -> dict[str, str]:
    told = await console.ask(CREDENTIALS, ListCredentials())
    return {credential.name: credential.fingerprint for credential in told.credentials}


def test_a_home_keeps_one_server_or_several(tmp_path: Path, cluster: Cluster) -> None:
    init(tmp_path / "several", cluster.access.seats)
    with pytest.raises(HomeError, match="bus of several servers"):
        embedded.prepare(tmp_path / "several")

    os.close(embedded.prepare(tmp_path / "one").claim)
    with pytest.raises(HomeError, match="a bus of its own already"):
        init(tmp_path / "one", cluster.access.seats)
