"""What a mesh counts of a provider's answers, with two gateways, whoever is killed."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx
import openai
import pytest
import yaml

from bus.connection import Bus
from ops import command
from proto.keys import account_of
from proto.subjects import REQUEST_TELEMETRY
from proto.telemetry import RequestEvent
from tests.mesh.house import READY_S, Command, Mesh, free_port, soon, until
from tests.unit.cloud.upstream import TEXT, Upstream

PRICE = {"prompt": 2.0, "completion": 10.0, "cached": 0.5}
COST = (5 * 2000 + 4 * 500 + 5 * 10_000) / 1e9
"""Of an answer: nine tokens of a prompt, four of them cached, and five of an answer."""
HI: Any = [{"role": "user", "content": "How is the sea?"}]
ASKED = {"model": "fake:some-model", "messages": HI}


class House(NamedTuple):
    mesh: Mesh
    second: Command
    urls: tuple[str, str]
    admin: str

    def make(self, name: str, **settings: Any) -> str:
        """A key, once both gateways know it."""
        body = {"name": name, **settings}
        made = self.post(self.urls[0], self.admin, "/admin/keys", body)
        assert made.status_code == 201, made.text
        key: str = made.json()["key"]
        for url in self.urls:
            until(lambda url=url: self.get(url, key, "/v1/models").status_code == 200, 5, name)
        return key

    def get(self, url: str, key: str, path: str) -> httpx.Response:
        return httpx.get(url + path, headers={"x-api-key": key}, timeout=20, trust_env=False)

    def post(self, url: str, key: str, path: str, body: Any) -> httpx.Response:
        headers = {"x-api-key": key}
        return httpx.post(url + path, headers=headers, json=body, timeout=20, trust_env=False)

    def total(self, key: str) -> dict[str, Any]:
        """Of what the key has used, by the second gateway."""
        told: dict[str, Any] = self.get(self.urls[1], key, "/v1/usage").json()["total"]
        return told

    def once_counted(self, key: str, requests: int) -> dict[str, Any]:
        return until(lambda: self._if_counted(key, requests), 10, f"{requests} requests counted")

    def _if_counted(self, key: str, requests: int) -> dict[str, Any] | None:
        total = self.total(key)
        return total if total["requests"] >= requests else None


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("usage") / "home"
    home.mkdir()
    with Upstream.running() as upstream:
        fake = {"url": upstream.url, "prices": {"*": PRICE}}
        (home / "odyssai.yaml").write_text(yaml.safe_dump({"providers": {"fake": fake}}))
        admin = made(home, "root", "--scope", "admin")
        mesh = Mesh(home, [], arguments=["--only", "gateway,scheduler,cloud,health"])
        port = free_port()
        second = Command(
            "gateway", "--nats", mesh.access.url("gateway"), "--home", str(home / "second"),
            "--port", str(port),
        )  # fmt: skip
        urls = (mesh.url, f"http://127.0.0.1:{port}")
        house = House(mesh, second, urls, admin)
        try:
            mesh.wait_until_it_serves()
            for url in urls:
                until(lambda url=url: serves(house, url), READY_S, f"models at {url}")
            yield house
        finally:
            second.end()
            mesh.end()


def made(home: Path, name: str, *flags: str) -> str:
    """By a command, before anything of the home was ever started."""
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.delenv("ODYSSAI_NATS", raising=False)
        patch.setattr("builtins.print", lambda *said, **_: told.append(str(said[0])))
        assert command.main(["key", "create", name, "--home", str(home), *flags]) == 0
    return told[0]


def serves(house: House, url: str) -> bool:
    try:
        return "fake:some-model" in house.get(url, house.admin, "/v1/models").text
    except httpx.HTTPError:
        return False


async def test_an_answer_counts_whole_streamed_cut_and_in_every_dialect(house: House) -> None:
    key, url = house.make("mixed"), house.urls[0]
    events: list[RequestEvent] = []
    async with Bus.connect(house.mesh.access.url("ops"), "test:usage") as bus:
        await bus.listen(REQUEST_TELEMETRY, events.append)
        await bus.settled()
        whole = await asyncio.to_thread(house.post, url, key, "/v1/chat/completions", ASKED)
        assert whole.headers["x-odyssai-cost-usd"] == "0.000062"
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as gpt:
            async for _ in await gpt.chat.completions.create(**ASKED, stream=True):
                pass
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key=key) as claude,
            claude.messages.stream(**ASKED, max_tokens=9) as stream,
        ):
            assert await stream.get_final_text() == TEXT
        total = await asyncio.to_thread(house.once_counted, key, 3)
        assert total == {
            "requests": 3, "prompt_tokens": 27, "completion_tokens": 15, "cached_tokens": 12,
            "cache_write_tokens": 0, "cost_usd": pytest.approx(3 * COST, abs=1e-12),
            "estimated_requests": 0, "unpriced_requests": 0,
        }  # fmt: skip

        # Its client leaves after two of the pieces "more ": 15 characters of a prompt, and those.
        endless = {**ASKED, "model": "fake:endless", "stream": True}
        async with (
            httpx.AsyncClient(timeout=20, trust_env=False) as http,
            http.stream("POST", f"{url}/v1/chat/completions", json=endless,
                        headers={"x-api-key": key}) as leaving,
        ):  # fmt: skip
            async for line in leaving.aiter_lines():
                if "more" in line:
                    break
        cut = await asyncio.to_thread(house.once_counted, key, 4)
        assert cut["estimated_requests"] == 1
        assert cut["prompt_tokens"] == 27 + 4
        assert 1 < cut["completion_tokens"] - 15 < 300
        await soon(lambda: [event for event in events if event.status == "cancelled"])
    cost = [event.cost_usd for event in events if event.served == "fake:some-model"]
    assert cost == [pytest.approx(COST, abs=1e-12)] * 3
    (left,) = [event for event in events if event.status == "cancelled"]
    assert (left.provider, left.is_estimated, left.key) == ("fake", True, "mixed")


def test_a_key_sees_its_own_an_administrator_sees_all_and_strangers_nothing(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    key, other = house.make("sees"), house.make("hides")
    for each in (key, key, other):
        house.post(house.urls[0], each, "/v1/chat/completions", ASKED)
    house.once_counted(key, 2)
    house.once_counted(other, 1)

    own = house.get(house.urls[0], key, "/v1/usage?by=key,model&days=1").json()
    assert [(e["key"], e["model"], e["requests"]) for e in own["data"]] == [
        ("sees", "fake:some-model", 2)
    ]
    every = house.get(house.urls[0], house.admin, "/v1/usage?by=key").json()
    assert {"sees": 2, "hides": 1}.items() <= {
        e["key"]: e["requests"] for e in every["data"]
    }.items()
    of_one = house.get(house.urls[0], house.admin, "/v1/usage?by=provider&key=hides").json()
    assert [(e["provider"], e["requests"]) for e in of_one["data"]] == [("fake", 1)]
    assert house.get(house.urls[0], key, "/v1/usage?key=hides").status_code == 403
    assert house.get(house.urls[0], "wrong", "/v1/usage").status_code == 401
    for wrong in ("by=colour", "days=0", "from=2026-01-02&to=2026-01-01", "to=soon"):
        assert house.get(house.urls[0], key, f"/v1/usage?{wrong}").status_code == 400

    asked = ["usage", "--home", str(house.mesh.home), "--by", "key", "--key", "sees"]
    assert command.main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"]["requests"] == 2
    assert command.main(asked) == 0
    heads, row = capsys.readouterr().out.splitlines()
    assert heads.split() == ["KEY", "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "COST"]
    assert row.split() == ["sees", "2", "18", "8", "10", "$0.000124"]


def test_a_budget_in_dollars_holds_for_both_gateways_and_says_when_it_is_free(
    house: House,
) -> None:
    """Two answers are within it; it is passed by the second."""
    key = house.make("thrifty", usd_per_day=1.5 * COST)
    first, second = house.urls
    for _ in range(2):
        assert house.post(first, key, "/v1/chat/completions", ASKED).status_code == 200
    # The gateway that served them knows at once, whatever the books have.
    refused = house.post(first, key, "/v1/chat/completions", ASKED)
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    error = refused.json()["error"]
    assert error["code"] == "insufficient_quota"
    assert "$0.000124 of $0.000093 today. It is free again from" in error["message"]

    def elsewhere() -> bool:
        return (
            house.post(second, key, "/v1/messages", {**ASKED, "max_tokens": 9}).status_code == 429
        )

    until(elsewhere, 5, "the other gateway knows it")
    shown = house.get(first, house.admin, "/admin/keys/thrifty").json()
    assert shown["settings"] == {"usd_per_day": 1.5 * COST}
    assert shown["spent"]["nano_usd_in_day"] in (124_000, 186_000)


def test_what_clients_received_is_what_is_counted_whoever_is_killed(house: House) -> None:
    """Bookkeepers die twice and a gateway once, while eight clients ask both gateways."""
    key = house.make("busy")
    received: list[str] = []
    lost: list[str] = []
    is_over = threading.Event()

    def client(number: int) -> None:
        url = house.urls[number % 2]
        headers = {"x-api-key": key}
        body = {**ASKED, "stream": number % 4 < 2}
        with httpx.Client(timeout=20, trust_env=False, headers=headers) as http:
            while not is_over.is_set():
                try:
                    answer = http.post(f"{url}/v1/chat/completions", json=body)
                except httpx.HTTPError:
                    lost.append(url)
                    time.sleep(0.05)
                    continue
                (received if answer.status_code == 200 else lost).append(url)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    try:
        for _ in range(2):
            so_far = len(received)
            until(lambda so_far=so_far: len(received) > so_far + 20, 20, "answers")
            keeper = house.mesh.process_of("health")
            keeper.kill()
            until(lambda keeper=keeper: not keeper.is_running(), 5)
        so_far = len(received)
        until(lambda: len(received) > so_far + 20, 20, "answers")
        house.mesh.process_of("gateway").kill()
        until(lambda: lost, 10, "somebody noticed")
        at_kill = len(lost)
        so_far = received.count(house.urls[0])
        until(
            lambda: received.count(house.urls[0]) > so_far,
            READY_S,
            "its next life",
        )
    finally:
        is_over.set()
        for each in clients:
            each.join()
    assert at_kill

    # Reports of a gateway come in their order: once these are in the books, all before them are.
    mark = house.make("mark")
    for url in house.urls:
        assert house.post(url, mark, "/v1/chat/completions", ASKED).status_code == 200
    house.once_counted(mark, 2)
    total = house.total(key)
    # Of the gateway that was killed at most what its four clients had under way is in doubt.
    assert len(received) - 4 <= total["requests"] <= len(received) + 4
    assert total["prompt_tokens"] == 9 * total["requests"]
    assert total["cost_usd"] == pytest.approx(COST * total["requests"], abs=1e-12)
    shown = house.get(house.urls[1], house.admin, f"/v1/usage?by=day&key={account_of('busy')}")
    assert sum(entry["requests"] for entry in shown.json()["data"]) == total["requests"]
