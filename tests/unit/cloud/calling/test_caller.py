"""How an upstream is called that is slow, busy, broken, or that does not know a key."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proto.errors import Code, MeshError
from services.cloud.calling import caller as calling
from services.cloud.calling import retrying
from services.cloud.calling.breaker import FAILURES
from services.cloud.calling.caller import Caller, proxy_of
from services.cloud.calling.errand import ERRAND, Errand
from services.cloud.calling.patience import Patience
from services.cloud.calling.retrying import RETRIES
from tests.unit.cloud.calling.moody import (
    Moody,
    begin_and_fall_silent,
    break_off,
    fine,
    hang_up,
    moody,
    never_begin,
    status,
)
from tests.unit.cloud.canned import canned

FINE = {"is": "fine"}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_S", 0.02)


@asynccontextmanager
async def calls(
    server: Moody, keys: Sequence[str] = (), **patience: float
) -> AsyncIterator[Caller]:
    shown = [{"authorization": f"Bearer {key}"} for key in keys]
    caller = Caller("up", server.url, {}, shown, Patience(**patience))
    try:
        yield caller
    finally:
        await caller.close()


@pytest.mark.parametrize(
    "passing", [hang_up, *(status(number) for number in (408, 409, 429, 500, 502, 503, 504, 529))]
)
async def test_what_may_be_better_in_a_moment_is_asked_again(passing: object) -> None:
    async with moody(passing, passing, fine) as server, calls(server) as caller:
        assert await caller.ask("/x", {}) == FINE
    assert len(server.keys) == 1 + RETRIES


@pytest.mark.parametrize("final", [400, 403, 404, 413, 422])
async def test_what_stays_as_it_is_is_not_asked_again(final: int) -> None:
    async with moody(status(final), fine) as server, calls(server) as caller:
        with pytest.raises(MeshError):
            await caller.ask("/x", {})
    assert len(server.keys) == 1


async def test_an_upstream_that_knows_better_is_believed() -> None:
    forbidding = status(500, "x-should-retry: false")
    async with moody(forbidding, fine) as server, calls(server) as caller:
        with pytest.raises(MeshError):
            await caller.ask("/x", {})
    assert len(server.keys) == 1


async def test_an_answer_that_began_is_never_asked_for_again() -> None:
    async with moody(break_off, fine) as server, calls(server) as caller:
        with pytest.raises(MeshError) as failed:
            await caller.ask("/x", {})
    assert failed.value.code is Code.UPSTREAM
    assert len(server.keys) == 1


async def test_nobody_comes_back_earlier_than_told() -> None:
    async with moody(status(503, "retry-after-ms: 600"), fine) as server, calls(server) as caller:
        began = time.monotonic()
        assert await caller.ask("/x", {}) == FINE
    assert time.monotonic() - began >= 0.6


async def test_a_long_wait_is_the_client_s_own_matter() -> None:
    async with moody(status(429, "retry-after: 7"), fine) as server, calls(server) as caller:
        with pytest.raises(MeshError) as refused:
            await caller.ask("/x", {})
    assert (refused.value.code, refused.value.retry_after_s) == (Code.QUEUE_FULL, 7)
    assert len(server.keys) == 1


async def test_no_attempt_begins_after_the_deadline() -> None:
    async with moody(status(503, "retry-after-ms: 900"), fine) as server, calls(server) as caller:
        token = ERRAND.set(Errand(time.monotonic() + 0.5))
        with pytest.raises(MeshError):
            await caller.ask("/x", {})
        ERRAND.reset(token)
    assert len(server.keys) == 1


@pytest.mark.parametrize("refused", [401, 402, 429])
async def test_a_refused_key_makes_room_for_the_next_at_once_and_rests(refused: int) -> None:
    by_key = {"a": [status(refused, "retry-after: 60")], "b": [fine]}
    async with moody(fine, by_key=by_key) as server, calls(server, ["a", "b"]) as caller:
        began = time.monotonic()
        assert await caller.ask("/x", {}) == FINE
        assert await caller.ask("/x", {}) == FINE
    assert server.keys == ["a", "b", "b"]
    assert time.monotonic() - began < 5


async def test_when_every_key_is_refused_that_is_what_is_told() -> None:
    busy = status(429, "retry-after: 9")
    async with moody(busy) as server, calls(server, ["a", "b", "c"]) as caller:
        with pytest.raises(MeshError) as refused:
            await caller.ask("/x", {})
        assert server.keys == ["a", "b", "c"]
        assert refused.value.code is Code.QUEUE_FULL
        with pytest.raises(MeshError):
            await caller.ask("/x", {})
    assert len(server.keys) == 4, "one is shown all the same: the upstream knows better"


async def test_who_does_not_begin_is_given_up_and_not_asked_twice() -> None:
    patience = {"first_byte_s": 0.2}
    async with moody(never_begin) as server, calls(server, **patience) as caller:
        with pytest.raises(MeshError, match="silent"):
            await caller.ask("/x", {})
    assert len(server.keys) == 1, "it may be at work on it, and be paid for it"


async def test_an_answer_that_falls_silent_is_given_up_sooner_than_one_that_has_not_begun() -> None:
    patience = {"first_byte_s": 600.0, "idle_s": 0.2}
    async with moody(begin_and_fall_silent) as server, calls(server, **patience) as caller:
        began = time.monotonic()
        with pytest.raises(MeshError, match="silent"):
            await caller.ask("/x", {})
    assert time.monotonic() - began < 5


async def test_a_slow_beginning_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin_late(writer, server) -> None:
        writer.write(b"HTTP/1.1 200 Told\r\ncontent-length: 2\r\n\r\n")
        await writer.drain()
        await server.may_go_on.wait()
        writer.write(b"{}")

    monkeypatch.setattr(calling, "LOOK_S", 0.02)
    async with (
        moody(begin_late) as server,
        calls(server, idle_s=0.1) as caller,
        caller.opened("/x", b"{}") as answer,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await answer.content.read(1)
        server.may_go_on.set()
        assert await answer.read() == b"{}"


async def test_an_upstream_that_fails_again_and_again_is_left_alone() -> None:
    async with moody(break_off) as server, calls(server) as caller:
        for _ in range(FAILURES):
            assert caller.breaker.circuit == "closed"
            with pytest.raises(MeshError):
                await caller.ask("/x", {})
        asked = len(server.keys)

        with pytest.raises(MeshError) as refused:
            await caller.ask("/x", {})

    assert (caller.breaker.circuit, len(server.keys)) == ("open", asked)
    assert refused.value.code is Code.UPSTREAM_DOWN
    assert refused.value.retry_after_s


async def test_refusals_are_no_failures() -> None:
    async with moody(status(400)) as server, calls(server) as caller:
        for _ in range(FAILURES + 1):
            with pytest.raises(MeshError):
                await caller.ask("/x", {})
    assert caller.breaker.circuit == "closed"


async def test_what_was_sent_and_received_is_counted_with_all_attempts() -> None:
    async with moody(status(500, body=b"sorry"), fine) as server, calls(server) as caller:
        run = Errand()
        token = ERRAND.set(run)
        await caller.ask("/x", {"a": 1})
        ERRAND.reset(token)
    assert (run.calls, run.sent_bytes) == (2, 2 * len(b'{"a":1}'))
    assert run.received_bytes == len(b"sorry") + len(b'{"is": "fine"}')


@pytest.mark.parametrize(
    ("stays", "code"), [(True, Code.FORBIDDEN), (False, Code.UPSTREAM)], ids=["stays", "may leave"]
)
async def test_what_must_stay_says_so_to_whoever_is_asked(stays: bool, code: Code) -> None:
    sorry = status(403, body=b'{"error": {"message": "it would leave"}}')
    async with moody(fine, by_key={"a": [sorry]}) as server, calls(server, ["a"]) as caller:
        token = ERRAND.set(Errand(stays=stays))
        with pytest.raises(MeshError, match="it would leave") as refused:
            await caller.ask("/x", {})
        ERRAND.reset(token)

    assert refused.value.code is code
    assert [("x-odyssai-local-only: 1" in head) for head in server.heads] == [stays]


async def test_the_environment_s_proxy_is_asked_and_no_netrc_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine up.example login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with canned(b"{}") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "near.example")
        caller = Caller("up", "http://up.example/v1", {})
        assert await caller.ask("/x", {}) == {}
        await caller.close()

    (head,) = proxy.asked
    assert head.startswith(b"POST http://up.example/v1/x ")
    assert b"authorization" not in head.lower()
    assert proxy_of("http://near.example/v1") is None
