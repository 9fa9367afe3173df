"""TLS of the gateway's own, against real handshakes."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bus import authority
from services.gateway.http.connection import SURPLUS
from services.gateway.http.crowd import Bounds
from services.gateway.http.listening import listen
from services.gateway.http.server import HttpServer
from services.gateway.http.tls import Certificate, Tls
from services.host import SettingError

NOW = datetime.now(UTC)
BOUNDS = Bounds(connections=8, per_address=0, patience_s=20)


def write(folder: Path, certificate: str, key: str) -> Certificate:
    (folder / "tls.pem").write_text(certificate)
    (folder / "tls.key").write_text(key)
    return Certificate(folder / "tls.pem", folder / "tls.key")


@pytest.fixture(scope="module")
def vouching() -> authority.Vouched:
    return authority.new_authority("home", NOW)


@pytest.fixture
def vouch(vouching: authority.Vouched, tmp_path: Path) -> Callable[[str], Certificate]:
    """Writes a certificate for a name, in the same files each time."""

    def make(name: str) -> Certificate:
        made = authority.vouch(vouching, [name], NOW)
        return write(tmp_path, made.certificate, made.key)

    return make


async def told_of_surplus(scope: Any, receive: Any, send: Any) -> None:
    status = 503 if scope["state"][SURPLUS] else 204
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(tls: Tls, host: str = "127.0.0.1", bounds: Bounds = BOUNDS) -> AsyncIterator[int]:
    listener = listen(host, 0)
    port: int = listener.getsockname()[1]
    server = HttpServer(told_of_surplus, bounds, tls)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield port
    finally:
        server.should_exit = True
        await running


async def head(
    port: int, trusted: str, name: str, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> str:
    context = ssl.create_default_context(cadata=trusted)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = min(most, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = most
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name
    )
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()


async def test_a_renewed_certificate_is_taken_up_without_a_restart(vouch, vouching):
    tls = Tls(vouch("old.example"))
    async with serving(tls) as port:
        assert "204" in await head(port, vouching.certificate, "old.example")

        vouch("new.example")
        tls.look()

        assert "204" in await head(port, vouching.certificate, "new.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await head(port, vouching.certificate, "old.example")


async def test_a_renewal_that_cannot_be_used_leaves_the_old_one_in_place(vouch, vouching, caplog):
    caplog.set_level(logging.INFO)
    certificate = vouch("old.example")
    tls = Tls(certificate)
    async with serving(tls) as port:
        whole = certificate.key.read_text()
        certificate.key.write_text("half a key")
        tls.look()
        assert "204" in await head(port, vouching.certificate, "old.example")

        certificate.key.write_text(whole)
        tls.look()

    assert [record.levelname for record in caplog.records if "renewed" in record.message] == [
        "ERROR",
        "INFO",
    ]


async def half_handshakes(port: int, many: int) -> list[tuple[asyncio.StreamReader, Any]]:
    """Clients that begin to greet, and stop."""
    begun = [await asyncio.open_connection("127.0.0.1", port) for _ in range(many)]
    for _, writer in begun:
        writer.write(b"\x16\x03\x01\x02\x00\x01")
    return begun


async def is_served(port: int, trusted: str) -> bool:
    try:
        return "204" in await head(port, trusted, "a.example")
    except OSError:
        return False


async def test_half_handshakes_are_connections(vouch, vouching):
    async with serving(Tls(vouch("a.example"))) as port:
        begun = await half_handshakes(port, BOUNDS.connections)
        assert "503" in await head(port, vouching.certificate, "a.example")

        more = await half_handshakes(port, BOUNDS.connections)
        assert await more[-1][0].read() == b""
        with pytest.raises(OSError):  # noqa: PT011 - of a connection that is reset, or ended
            await head(port, vouching.certificate, "a.example")

        for _, writer in (*begun, *more):
            writer.transport.abort()
        async with asyncio.timeout(10):
            while not await is_served(port, vouching.certificate):
                pass


async def test_whole_handshakes_count_once(vouch, vouching):
    async with serving(Tls(vouch("a.example"))) as port:
        begun = await half_handshakes(port, BOUNDS.connections - 1)

        assert "204" in await head(port, vouching.certificate, "a.example")
        for _, writer in begun:
            writer.transport.abort()


async def test_a_handshake_that_does_not_go_on_is_not_waited_for(vouch, vouching):
    brief = Bounds(connections=4, per_address=0, patience_s=0.2)
    async with serving(Tls(vouch("a.example")), bounds=brief) as port:
        begun = await half_handshakes(port, brief.connections)
        for reader, writer in begun:
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

        assert "204" in await head(port, vouching.certificate, "a.example")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_old_versions_of_tls_are_not_spoken(vouch, vouching):
    async with serving(Tls(vouch("a.example"))) as port:
        assert "204" in await head(port, vouching.certificate, "a.example", ssl.TLSVersion.TLSv1_2)
        with pytest.raises(OSError):  # noqa: PT011 - of TLS, or of a connection that is reset
            await head(port, vouching.certificate, "a.example", ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize(("host", "is_strict"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_browsers_are_told_to_stay_with_tls_beyond_loopback(vouch, vouching, host, is_strict):
    async with serving(Tls(vouch("a.example")), host) as port:
        said = await head(port, vouching.certificate, "a.example")

    assert ("strict-transport-security: max-age=" in said) is is_strict


def test_what_is_no_certificate_ends_the_start(tmp_path):
    for certificate in (
        Certificate(tmp_path / "none.pem", tmp_path / "none.key"),
        write(tmp_path, "no certificate", "no key"),
    ):
        with pytest.raises(SettingError, match="ODYSSAI_TLS_CERT"):
            Tls(certificate)


def test_a_key_without_its_certificate_ends_the_start(monkeypatch):
    monkeypatch.setenv("ODYSSAI_TLS_KEY", os.devnull)

    with pytest.raises(SettingError, match="set both"):
        Certificate.told()
