"""What a gateway does with what no well-behaved client sends. Raw sockets, one real gateway."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import authority
from tests.mesh.house import until
from tests.security.gateway import LINE, Gateway, read, read_answer, running, secured

PATIENCE_S = 0.6
CONNECTIONS = 40
HOST = b"Host: localhost\r\n"
LAST = b"Connection: close\r\n\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\n" + HOST + LAST
"""A request that nobody sent: as an answer of its own it would be a 404."""


@pytest.fixture(scope="module")
def gateway(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    told = {
        "ODYSSAI_PATIENCE_S": str(PATIENCE_S),
        "ODYSSAI_CONNECTIONS": str(CONNECTIONS),
        "ODYSSAI_BODY_LIMIT_MB": "1",
    }
    with running(nats_url, tmp_path_factory.mktemp("gateway") / "home", told) as gateway:
        yield gateway


def post(*headers: bytes, host: bytes = HOST, path: bytes = b"/v1/messages") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"POST " + path + b" HTTP/1.1\r\n" + host + lines + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked"
TWO_BODIES = b"5\r\nabcde\r\n0\r\n\r\n"

READ_IN_TWO_WAYS = {
    "a length beside chunks": post(b"Content-Length: 5", CHUNKED) + TWO_BODIES + NEXT,
    "chunks beside a length": post(CHUNKED, b"Content-Length: 5") + TWO_BODIES + NEXT,
    "two lengths": post(b"Content-Length: 5", b"Content-Length: 6") + b"abcdef" + NEXT,
    "a length twice": post(b"Content-Length: 5", b"Content-Length: 5") + b"abcde" + NEXT,
    "a list of lengths": post(b"Content-Length: 5, 5") + b"abcde" + NEXT,
    "a signed length": post(b"Content-Length: +5") + b"abcde" + NEXT,
    "a hexadecimal length": post(b"Content-Length: 0x5") + b"abcde" + NEXT,
    "an empty length": post(b"Content-Length: ") + NEXT,
    "a length without end": post(b"Content-Length: " + b"9" * 30) + b"abcde" + NEXT,
    "an unknown coding": post(b"Transfer-Encoding: xchunked") + TWO_BODIES + NEXT,
    "two codings": post(b"Transfer-Encoding: gzip, chunked") + TWO_BODIES + NEXT,
    "two lines of codings": post(b"Transfer-Encoding: identity", CHUNKED) + TWO_BODIES + NEXT,
    "chunked twice": post(CHUNKED, CHUNKED) + TWO_BODIES + NEXT,
    "chunked after a tab": post(b"Transfer-Encoding: \x0bchunked") + TWO_BODIES + NEXT,
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked") + TWO_BODIES + NEXT,
    "a folded header": post(b"X-A: a\r\n b") + NEXT,
    "a space before the colon": post(b"Transfer-Encoding : chunked") + TWO_BODIES + NEXT,
    "bare line feeds": b"POST /v1/messages HTTP/1.1\nHost: localhost\n\n" + NEXT,
    "one bare line feed": post(b"X-A: a\nX-B: b") + NEXT,
    "a bare carriage return": post(b"X-A: a\rX-B: b") + NEXT,
    "a NUL in a value": post(b"X-A: a\x00b") + NEXT,
    "a NUL in a name": post(b"X\x00A: b") + NEXT,
    "a header without a name": post(b": b") + NEXT,
    "a chunk ended by a line feed": post(CHUNKED) + b"5\nabcde\n0\n\n" + NEXT,
    "an extension ended by a line feed": post(CHUNKED) + b"5;a\nabcde\r\n0\r\n\r\n" + NEXT,
    "a hexadecimal chunk": post(CHUNKED) + b"0x5\r\nabcde\r\n0\r\n\r\n" + NEXT,
    "a negative chunk": post(CHUNKED) + b"-5\r\nabcde\r\n0\r\n\r\n" + NEXT,
    "a chunk without end": post(CHUNKED) + b"f" * 17 + b"\r\nabcde\r\n0\r\n\r\n" + NEXT,
    "a chunk longer than it says": post(CHUNKED) + b"5\r\nabcdefg\r\n0\r\n\r\n" + NEXT,
    "a trailer that is a length": post(CHUNKED) + b"0\r\nContent-Length: 5\r\n\r\n" + NEXT,
    "two hosts": post(b"Host: localhost") + NEXT,
    "no host": post(host=b"") + NEXT,
    "two credentials": post(b"Authorization: Bearer a", b"Authorization: Bearer b") + NEXT,
    "chunks in HTTP/1.0": b"POST /v1/messages HTTP/1.0\r\n" + CHUNKED + b"\r\n\r\n" + NEXT,
    "HTTP/0.9": b"GET /v1/models\r\n\r\n" + NEXT,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT,
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
}


@pytest.mark.parametrize("case", READ_IN_TWO_WAYS)
def test_what_two_servers_could_read_differently_ends_the_connection(gateway, case):
    assert gateway.statuses(READ_IN_TWO_WAYS[case]) == [400], case


def test_a_pipeline_of_sound_requests_is_answered_in_order(gateway):
    whole = post(b"Content-Length: 2") + b"{}" + post(CHUNKED) + b"2;a=b\r\n{}\r\n0\r\n\r\n" + NEXT

    assert gateway.statuses(whole) == [400, 400, 404]


def test_a_trailer_is_no_header(gateway):
    body = b'{"model": "m", "max_tokens": 1, "messages": []}'
    trailed = b"%x\r\n%b\r\n0\r\nHost: evil.example\r\nContent-Encoding: br\r\n\r\n"

    said = gateway.said(post(CHUNKED, b"Connection: close") + trailed % (len(body), body))

    assert b"HTTP/1.1 400 " in said
    assert b"messages" in said


@pytest.mark.parametrize("offered", [b"h2c", b"websocket"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_request_that_offers_another_protocol_keeps_its_body(gateway, offered, pieces):
    body = b'{"model": "m", "stream": 3}'
    head = post(b"Connection: Upgrade", b"Upgrade: " + offered, b"Content-Length: %d" % len(body))
    with gateway.connect() as client:
        if pieces == 1:
            client.sendall(head + body)
        else:
            client.sendall(head)
            client.sendall(body)
        said = read_answer(client)
        client.sendall(NEXT)
        after = read_answer(client)

    assert b"stream" in said
    assert after.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LOCALHOST:8000", b"127.0.0.1", b"127.1.2.3:1", b"[::1]:8000", b"a.localhost"],
)
def test_a_gateway_on_loopback_answers_to_names_of_loopback(gateway, host):
    assert gateway.statuses(b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\n" + LAST) == [200]


@pytest.mark.parametrize(
    "host", [b"evil.example", b"localhost.evil.example", b"192.168.1.7:8000", b"[2001:db8::1]"]
)
@pytest.mark.parametrize("path", [b"/v1/models", b"/health", b"/admin/status", b"/nowhere"])
def test_no_page_passes_for_the_gateway_by_a_name_of_its_own(gateway, host, path):
    said = gateway.said(b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + LAST)

    assert said.startswith(b"HTTP/1.1 421 ")
    assert b"ODYSSAI_ALLOWED_HOSTS" in said


@pytest.mark.parametrize("host", [b"", b"a b", b"a/b", b"u@localhost", b"[::1", b"localhost:x"])
def test_what_is_no_host_is_a_400(gateway, host):
    said = gateway.said(b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n" + LAST)

    assert said.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n" + HOST + LAST,
        b"GET /nowhere HTTP/1.1\r\n" + HOST + LAST,
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\n" + LAST,
        b"nonsense\r\n\r\n",
    ],
)
def test_every_answer_tells_browsers_what_it_is_not(gateway, sent):
    head = gateway.said(sent).partition(b"\r\n\r\n")[0].lower()

    for line in (
        b"x-content-type-options: nosniff",
        b"referrer-policy: no-referrer",
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ):
        assert line in head
    assert b"\r\nserver:" not in head
    assert b"access-control-allow-origin" not in head


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nX-A: " + b"b" * 200_000, 431),
        (b"GET /" + b"a" * 200_000, 431),
        (post(CHUNKED) + b"5;" + b"a" * 200_000, 431),
        (post(CHUNKED) + b"0\r\nX-A: " + b"b" * 200_000, 431),
        (post(b"Content-Length: 2000000"), 413),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_all_here(gateway, sent, status):
    with gateway.connect() as client:
        client.sendall(sent)
        head = read(client) if status != 413 else read_answer(client)

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(head.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_head_that_does_not_come_is_not_waited_for(gateway):
    with gateway.connect() as silent, gateway.connect() as slow, gateway.connect() as later:
        began = time.monotonic()
        slow.sendall(b"GET /health HTT")
        later.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\nGET /he")

        assert read(silent) == b""
        assert read(slow).startswith(b"HTTP/1.1 408 ")
        assert b"HTTP/1.1 408 " in read(later)
        assert time.monotonic() - began < 8


def test_a_head_that_trickles_gets_no_more_time_for_it(gateway):
    with gateway.connect() as client:
        began = time.monotonic()
        client.sendall(b"GET /health HTTP/1.1\r\n" + HOST)
        client.settimeout(PATIENCE_S / 4)
        said = b""
        while not said and time.monotonic() - began < 8:
            client.sendall(b"X-A: b\r\n")
            try:
                said = client.recv(4096)
            except TimeoutError:
                continue

    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 5000", CHUNKED])
def test_a_body_that_does_not_flow_is_a_408(gateway, framing):
    with gateway.connect() as client:
        client.sendall(post(framing))
        client.sendall(b"1\r\n{\r\n")
        said = read(client)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["type"] == "error"


def test_the_rest_of_a_refused_body_is_not_read_for_ever(gateway):
    with gateway.connect() as client:
        began = time.monotonic()
        client.sendall(post(b"Content-Length: 2000000"))
        said = read(client)

    assert said.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 8


def test_one_connection_too_many_is_told_so_and_others_are_served(gateway):
    asked = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    crowd = []
    try:
        for _ in range(CONNECTIONS):
            client = gateway.connect()
            crowd.append(client)
            client.sendall(asked)
            assert read_answer(client).startswith(b"HTTP/1.1 200 ")
        said = gateway.said(asked)
        crowd[0].sendall(asked)

        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in said
        assert b"ODYSSAI_CONNECTIONS" in said
        assert read_answer(crowd[0]).startswith(b"HTTP/1.1 200 ")
    finally:
        for client in crowd:
            client.close()


def test_handshakes_that_are_begun_and_left_count_as_connections(nats_url, tmp_path):
    vouching = authority.new_authority("home", datetime.now(UTC))
    vouched = authority.vouch(vouching, ["localhost"], datetime.now(UTC))
    files = {"ca.pem": vouching.certificate, "a.pem": vouched.certificate, "a.key": vouched.key}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    told = {
        "ODYSSAI_TLS_CERT": str(tmp_path / "a.pem"),
        "ODYSSAI_TLS_KEY": str(tmp_path / "a.key"),
        "ODYSSAI_CONNECTIONS": str(CONNECTIONS),
    }
    with running(nats_url, tmp_path / "home", told) as gateway, ExitStack() as crowd:
        for _ in range(CONNECTIONS):
            crowd.enter_context(gateway.connect()).sendall(b"\x16\x03\x01\x02\x00\x01")
        assert asked_over_tls(gateway, tmp_path / "ca.pem") == 503

        crowd.close()
        until(lambda: asked_over_tls(gateway, tmp_path / "ca.pem") == 200, 10, "room again")
        assert "Traceback" not in gateway.log.read_text()


def asked_over_tls(gateway: Gateway, trusted: Path) -> int:
    with gateway.connect() as plain, secured(plain, trusted) as client:
        client.sendall(b"GET /health HTTP/1.1\r\n" + HOST + LAST)
        return int(LINE.match(read(client))[1])  # type: ignore[index]


def test_nothing_of_all_this_was_an_error_of_the_gateway(gateway: Gateway) -> None:
    """The last one: the log tells of the tests before it."""
    assert "Traceback" not in Path(gateway.log).read_text()
