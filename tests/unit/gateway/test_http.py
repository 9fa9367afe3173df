"""What is HTTP and no dialect: ids, origins, compression, spellings of addresses."""

import asyncio
import gzip
import json
import zlib
from urllib.parse import urlsplit

import httpx
import pytest

from services.gateway.http.coding import takes_gzip
from services.gateway.settings import Settings
from services.host import SettingError
from tests.unit.gateway.scripted import MODEL

PATH = "/v1/chat/completions"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
BODY = json.dumps(CHAT).encode()


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


async def posted(http: httpx.AsyncClient, body: bytes, coding: str) -> httpx.Response:
    return await http.post(PATH, content=body, headers={"content-encoding": coding})


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", bare_deflate(BODY)),
        ("identity", BODY),
    ],
)
async def test_a_body_may_come_compressed(http, scripted, coding, body):
    answer = await posted(http, body, coding)

    assert answer.status_code == 200
    assert scripted.asked[0].prompt.turns[0].content == "Hi"


async def test_a_body_that_grows_beyond_the_limit_is_refused(http):
    bomb = gzip.compress(b" " * (33 << 20))
    assert len(bomb) < 1 << 16

    answer = await posted(http, bomb, "gzip")

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    "body", [b"", BODY, gzip.compress(BODY, mtime=0)[:-9], gzip.compress(BODY, mtime=0) + b"more"]
)
async def test_a_damaged_body_is_a_400(http, body):
    answer = await posted(http, body, "gzip")

    assert answer.status_code == 400
    assert "content-encoding" in answer.json()["error"]["message"]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "x"])
async def test_other_codings_are_a_415(http, coding):
    answer = await posted(http, BODY, coding)

    assert (answer.status_code, answer.json()["error"]["param"]) == (415, "Content-Encoding")


async def test_a_large_body_is_read_beside_the_loop(http, scripted):
    words = "".join(chr(33 + at * at % 90) for at in range(400_000))
    body = json.dumps(CHAT | {"messages": [{"role": "user", "content": words}]}).encode()
    packed = gzip.compress(body, mtime=0)
    assert len(packed) > 1 << 10

    assert (await posted(http, packed, "gzip")).status_code == 200
    assert scripted.asked[0].prompt.turns[0].content == words


async def test_answers_that_are_worth_it_come_in_gzip(http):
    large = await http.get("/openapi.json")
    small = await http.get("/api/version")
    plain = await http.get("/openapi.json", headers={"accept-encoding": "identity"})

    assert large.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in small.headers
    assert "content-encoding" not in plain.headers
    assert large.json() == plain.json()
    assert int(large.headers["content-length"]) < len(plain.content) / 4
    assert "accept-encoding" in large.headers["vary"]
    assert "accept-encoding" in plain.headers["vary"]


async def test_streams_are_never_compressed(http):
    answer = await http.post(PATH, json=CHAT | {"stream": True})

    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("GZIP", True), ("gzip;q=1", True),
        ("", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.0, *", False), ("*;q=0", False),
    ],
)  # fmt: skip
def test_accept_encoding_is_read_as_it_is_meant(accepted, is_taken):
    assert takes_gzip(accepted) is is_taken


async def test_a_clients_own_id_is_repeated_and_told_and_never_used_as_ours(http, events):
    first = await http.post(PATH, json=CHAT, headers={"x-client-request-id": "mine"})
    second = await http.post(PATH, json=CHAT, headers={"x-request-id": "mine"})
    told = [await asyncio.wait_for(events.get(), 5) for _ in range(2)]

    for answer, event in zip((first, second), told, strict=True):
        assert answer.headers["x-client-request-id"] == "mine"
        assert event.client_request == "mine"
        assert event.request == answer.headers["x-request-id"] == answer.headers["request-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("id", ["x" * 513, "caf\xe9", "a\tb"])
async def test_an_id_that_is_not_fit_to_be_repeated_is_passed_over(http, id):
    answer = await http.get("/health", headers={"x-request-id": id.encode("latin-1")})

    assert "x-client-request-id" not in answer.headers


async def test_every_answer_tells_how_long_it_took(http):
    for answer in (
        await http.post(PATH, json=CHAT),
        await http.post(PATH, content=b"{"),
        await http.get("/nowhere"),
    ):
        assert 0 <= int(answer.headers["openai-processing-ms"]) < 10_000
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("short", "body"),
    [
        ("/chat/completions", CHAT),
        ("/completions", {"model": MODEL, "prompt": "Hi"}),
        ("/messages", CHAT | {"max_tokens": 5}),
        ("/chat/completions/", CHAT),
        ("/v1/chat/completions/", CHAT),
    ],
)
async def test_addresses_may_lack_the_version_and_end_in_a_slash(http, short, body):
    assert (await http.post(short, json=body)).status_code == 200


async def test_models_are_found_without_the_version(http):
    assert (await http.get("/models")).json() == (await http.get("/v1/models/")).json()
    assert (await http.get(f"/models/{MODEL}")).json()["id"] == MODEL


async def test_the_dialect_of_a_refusal_is_that_of_the_short_address(http):
    assert (await http.post("/messages", json={})).json()["type"] == "error"
    assert "code" in (await http.post("/chat/completions", json={})).json()["error"]


@pytest.mark.parametrize("body", [b'{"model": NaN}', b'{"model": "\xed\xa0\x80"}', b'{"n": 1e999}'])
@pytest.mark.parametrize("path", [PATH, "/v1/messages", "/api/chat"])
async def test_what_is_no_json_is_a_400(http, path, body):
    assert (await http.post(path, content=body)).status_code == 400


@pytest.fixture
def any_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_CORS_ORIGINS", "*")


async def test_no_page_may_read_answers_unless_told_otherwise(http):
    for answer in (
        await http.options(PATH, headers={"origin": "https://a"}),
        await http.get("/v1/models", headers={"origin": "https://a"}),
    ):
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_no_page_posts_without_asking_first(http, scripted, kind):
    said = {"origin": "https://a"} | ({"content-type": kind} if kind else {})

    answer = await http.post(PATH, content=BODY, headers=said)

    assert answer.status_code == 400
    assert "content-type: application/json" in answer.json()["error"]["message"]
    assert not scripted.asked


async def test_any_page_may_read_answers_when_told_so(any_origin, http):
    preflight = await http.options(
        PATH,
        headers={"origin": "https://a", "access-control-request-headers": "x-stainless-os, x-a"},
    )
    bare = await http.options(PATH, headers={"origin": "https://a"})

    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "x-stainless-os, x-a"
    assert preflight.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert bare.headers["access-control-allow-headers"] == "*, authorization"


async def test_no_header_comes_out_of_a_preflight_that_was_no_name(http):
    odd = {"origin": "https://a", "access-control-request-headers": "a; b=(c)"}
    answer = await http.options(PATH, headers=odd)

    assert answer.headers["access-control-allow-headers"] == "*, authorization"


@pytest.fixture
def only_one_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_CORS_ORIGINS", "https://chat.example, http://localhost:3000")


async def test_only_named_origins_may_read_answers(only_one_origin, http):
    mine = await http.get("/v1/models", headers={"origin": "http://localhost:3000"})
    foreign = await http.get("/v1/models", headers={"origin": "https://evil.example"})
    none = await http.get("/v1/models")
    lost = await http.get("/nowhere", headers={"origin": "http://localhost:3000"})

    assert mine.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert lost.headers["access-control-allow-origin"] == "http://localhost:3000"
    for answer in (mine, foreign, none):
        assert "origin" in answer.headers["vary"]
    for answer in (foreign, none):
        assert "access-control-allow-origin" not in answer.headers


async def test_a_foreign_preflight_gets_no_leave(only_one_origin, http):
    answer = await http.options(PATH, headers={"origin": "https://evil.example"})

    assert answer.status_code == 204
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("text", "origins"),
    [("none", set()), ("*", {"*"}), ("https://a:1, null", {"https://a:1", "null"})],
)
def test_origins_are_read_from_the_setting(monkeypatch, text, origins):
    monkeypatch.setenv("ODYSSAI_CORS_ORIGINS", text)

    assert Settings.read().cors.origins == origins


@pytest.mark.parametrize("text", ["chat.example", "https://a/", "https://a b"])
def test_what_is_no_origin_ends_the_start(monkeypatch, text):
    monkeypatch.setenv("ODYSSAI_CORS_ORIGINS", text)

    with pytest.raises(SettingError, match="ODYSSAI_CORS_ORIGINS"):
        Settings.read()


async def exchanged(url: str, head: bytes, body: bytes = b"") -> list[bytes]:
    """The status lines that come before and after the body, which waits for the first."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(head)
        lines = [await asyncio.wait_for(reader.readline(), 5)]
        if body:
            writer.write(body)
            await reader.readline()
            lines.append(await asyncio.wait_for(reader.readline(), 5))
        return lines
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_asks_first_is_told_to_go_on_or_why_not(url):
    head = (
        b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        b"content-length: %d\r\n\r\n"
    )

    went_on = await exchanged(url, head % 2, b"{}")
    (refused,) = await exchanged(url, head % (33 << 20))

    assert went_on == [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 400 Bad Request\r\n"]
    assert refused.startswith(b"HTTP/1.1 413 ")
