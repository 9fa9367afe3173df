"""Two gateways that everybody reaches, and who is served there: holders of keys, nobody else."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx
import openai
import pytest
from nats.js.errors import APIError

from bus import audit
from bus.connection import Bus
from ops import command
from proto.audit import AUDIT, AuditEvent
from tests.mesh.house import READY_S, Command, Mesh, free_port, until

HI: Any = [{"role": "user", "content": "Hi"}]
LONG: Any = {"model": "tiny", "messages": HI, "max_tokens": 7000, "stream": True}


class House(NamedTuple):
    mesh: Mesh
    urls: tuple[str, str]
    """Of two gateways."""
    admin: str
    """A key with the scope admin."""

    def make(self, name: str, **settings: Any) -> str:
        """A key, once both gateways know it."""
        answer = self.administer("POST", "/admin/keys", json={"name": name, **settings})
        assert answer.status_code == 201, answer.text
        key: str = answer.json()["key"]
        for url in self.urls:
            until(lambda url=url: _status(url, key) != 401, 1.0, f"{name} known at {url}")
        return key

    def administer(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.admin}"}
        url = self.urls[0] + path
        return httpx.request(method, url, headers=headers, timeout=20, trust_env=False, **more)


def _status(url: str, key: str) -> int:
    shown = {"x-api-key": key}
    return httpx.get(f"{url}/v1/models", headers=shown, timeout=5, trust_env=False).status_code


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def gpt(clients: ExitStack) -> Callable[[str, str], openai.OpenAI]:
    """The vendor's client, as it comes."""
    return lambda url, key: clients.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=key))


@pytest.fixture
def claude(clients: ExitStack) -> Callable[[str, str], anthropic.Anthropic]:
    return lambda url, key: clients.enter_context(anthropic.Anthropic(base_url=url, api_key=key))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[House]:
    home = tmp_path_factory.mktemp("keys") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ODYSSAI_NATS", raising=False)
        admin = made(home, "root", "--scope", "admin")
    mesh = Mesh(home, [tiny_model], arguments=("--host", "0.0.0.0"))
    port = free_port()
    # The bus's address is known since the key was made.
    second = Command(
        "gateway", "--nats", mesh.access.url("gateway"), "--home", str(home / "second"),
        "--host", "0.0.0.0", "--port", str(port),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        mesh.wait_until_it_serves()
        until(lambda: _is_ready(url), READY_S, "the second gateway")
        yield House(mesh, (mesh.url, url), admin)
    finally:
        second.end()
        mesh.end()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def made(home: Path, name: str, *flags: str) -> str:
    """By a command, before anything of the home was ever started."""
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("builtins.print", lambda *said, **_: told.append(str(said[0])))
        assert command.main(["key", "create", name, "--home", str(home), *flags]) == 0
    return told[0]


def test_nothing_is_started_where_strangers_would_be_served(tmp_path: Path) -> None:
    up = Command(
        "up", "--home", str(tmp_path), "--host", "0.0.0.0", "--port", str(free_port()),
        "--model", "none",
    )  # fmt: skip
    try:
        said = up.said.wait_for("odyssai key create NAME", READY_S)
        assert up.process.wait(10) == 1
        assert "no API key yet" in said
    finally:
        up.end()


def test_strangers_are_told_nothing(house: House) -> None:
    for url in house.urls:
        with httpx.Client(base_url=url, trust_env=False) as stranger:
            for path in ("/v1/models", "/api/tags", "/api/ps", "/admin/status", "/admin/keys"):
                refused = stranger.get(path)
                assert refused.status_code == 401, path
                assert refused.headers["www-authenticate"] == "Bearer"
            for path in ("/health", "/ready", "/", "/.well-known/inference-engine.json"):
                told = stranger.get(path)
                assert told.status_code == 200
                assert "tiny" not in told.text
            assert stranger.post("/v1/chat/completions", json=LONG).status_code == 401


def test_the_vendors_clients_know_a_wrong_key_from_a_right_one(
    house: House, gpt: Any, claude: Any
) -> None:
    key = house.make("sdk")
    for url in house.urls:
        assert gpt(url, key).chat.completions.create(model="tiny", messages=HI, max_tokens=2).id
        assert claude(url, key).messages.create(model="tiny", messages=HI, max_tokens=2).id
        with pytest.raises(openai.AuthenticationError) as wrong:
            gpt(url, key[:-1] + "0").models.list()
        assert wrong.value.code == "invalid_api_key"
        with pytest.raises(anthropic.AuthenticationError, match="authentication_error"):
            claude(url, "sk-ant-wrong").messages.create(model="tiny", messages=HI, max_tokens=2)


def test_a_key_may_what_its_scopes_and_models_say_and_hears_of_nothing_else(
    house: House, gpt: Any, claude: Any
) -> None:
    key = house.make("narrow", models=["other*"], scopes=["inference", "models"])
    client, other = gpt(house.urls[1], key), claude(house.urls[1], key)

    assert [model.id for model in client.models.list()] == []
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="tiny", messages=HI)
    with pytest.raises(openai.NotFoundError) as absent:
        client.chat.completions.create(model="nowhere", messages=HI)
    assert str(refused.value) == str(absent.value).replace("nowhere", "tiny")
    with pytest.raises(anthropic.NotFoundError):
        other.messages.create(model="tiny", messages=HI, max_tokens=2)
    with pytest.raises(openai.PermissionDeniedError, match="--scope telemetry"):
        client.get("/../admin/status", cast_to=httpx.Response)
    looks = house.make("looks", scopes=["telemetry"])
    with pytest.raises(anthropic.PermissionDeniedError, match="--scope inference"):
        claude(house.urls[0], looks).messages.create(model="tiny", messages=HI, max_tokens=2)


def test_a_revoked_key_ends_what_runs_for_it_at_every_gateway(house: House) -> None:
    key, kept = house.make("leaves"), house.make("stays")
    with (
        httpx.Client(timeout=20, trust_env=False) as client,
        client.stream("POST", f"{house.urls[1]}/v1/chat/completions", json=LONG,
                      headers={"authorization": f"Bearer {key}"}) as chat,
        client.stream("POST", f"{house.urls[0]}/v1/messages", json=LONG,
                      headers={"x-api-key": key}) as message,
        client.stream("POST", f"{house.urls[1]}/v1/chat/completions", json=LONG,
                      headers={"x-api-key": kept}) as other,
    ):  # fmt: skip
        lines = [stream.iter_lines() for stream in (chat, message, other)]
        for line in lines:
            next(line)
        began = time.monotonic()
        assert house.administer("DELETE", "/admin/keys/leaves").status_code == 200
        ends = ["\n".join(line) for line in lines[:2]]
        assert time.monotonic() - began < 2.0
        assert next(lines[2]) is not None

    for end in ends:
        assert "The API key leaves was revoked" in end
    assert '"invalid_api_key"' in ends[0]
    assert "event: error" in ends[1]
    assert '"authentication_error"' in ends[1]
    assert {_status(url, key) for url in house.urls} == {401}
    assert {_status(url, kept) for url in house.urls} == {200}


def test_an_answer_ends_when_its_key_expires(house: House) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=2)
    key = house.make("brief", expires=expires.isoformat())
    with (
        httpx.Client(timeout=20, trust_env=False) as client,
        client.stream("POST", f"{house.urls[0]}/v1/chat/completions", json=LONG,
                      headers={"authorization": f"Bearer {key}"}) as chat,
    ):  # fmt: skip
        said = "\n".join(chat.iter_lines())
    assert "The API key brief expired at" in said
    assert '"invalid_api_key"' in said
    assert datetime.now(UTC) < expires + timedelta(seconds=3)
    assert _status(house.urls[0], key) == 401


def test_a_budget_holds_for_both_gateways_together(house: House, gpt: Any) -> None:
    key = house.make("thrifty", tokens_per_day=30)
    gpt(house.urls[0], key).chat.completions.create(model="tiny", messages=HI, max_tokens=20)

    def spent() -> int:
        shown: int = house.administer("GET", "/admin/keys/thrifty").json()["spent"]["in_day"]
        return shown

    until(lambda: spent() >= 30, 5.0, "what was spent is written down")
    other = gpt(house.urls[1], key)

    def refused() -> openai.RateLimitError | None:
        try:
            other.chat.completions.create(model="tiny", messages=HI, max_tokens=1)
        except openai.RateLimitError as error:
            return error
        return None

    error = until(refused, 1.0, "the other gateway knows it")
    assert error.code == "insufficient_quota"
    assert error.response.headers["x-should-retry"] == "false"
    assert "of 30 tokens today" in error.message
    shown = house.administer("GET", "/admin/keys/thrifty").json()
    assert shown["settings"] == {"tokens_per_day": 30}


def test_a_key_is_told_once_and_nowhere_again(house: House) -> None:
    key = house.make("quiet")
    secret = key.rpartition("_")[2]
    home = house.mesh.home
    files = [file for file in home.rglob("*") if file.is_file() and file.stat().st_size < 64 << 20]

    assert secret not in house.administer("GET", "/admin/keys").text
    assert [str(file) for file in files if secret.encode() in file.read_bytes()] == []


def _guess(url: str) -> None:
    httpx.get(f"{url}/admin/keys", headers={"x-api-key": "guess"}, trust_env=False)


async def test_every_act_is_in_the_audit_log_and_stays_there(house: House) -> None:
    house.make("noted", models=["a"])
    house.administer("PATCH", "/admin/config", json={"aliases": {"sees": "tiny"}})
    house.administer("POST", "/admin/models/load", json={"model": "absent", "fetches": False})
    house.administer("DELETE", "/admin/keys/noted")
    _guess(house.urls[1])
    wanted = {
        ("key.create", "noted", "ok"),
        ("config.change", "", "ok"),
        ("order.load", "absent", "ok"),
        ("key.revoke", "noted", "ok"),
        ("admin.refused", "", "invalid_api_key"),
    }
    async with Bus.connect(house.mesh.access.url("console"), "test:audit") as bus:
        seen: list[AuditEvent] = []
        async with asyncio.timeout(10), aclosing(audit.acts(bus, 0, follows=True)) as acts:
            async for event in acts:
                seen.append(event)
                if wanted <= {(each.act, each.target, each.outcome) for each in seen}:
                    break
        # Nobody may ask for it, and who could would be refused by the stream itself.
        impatient = bus._client.jetstream(timeout=0.3)
        with pytest.raises((APIError, TimeoutError)):
            await impatient.purge_stream(AUDIT)
        with pytest.raises((APIError, TimeoutError)):
            await impatient.delete_msg(AUDIT, 1)
    by = {each.act: (each.by, each.address) for each in seen if each.target in ("noted", "absent")}

    assert set(by.values()) == {("root", "127.0.0.1")}
    assert not any("odk_" in json.dumps(each.detail) for each in seen)
