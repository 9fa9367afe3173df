"""Upstreams that fail, through the whole mesh, in every dialect; and what of them leaves."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bus.connection import Bus
from proto.embedding import Embed
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.ids import RequestId, fresh
from proto.prompt import Text
from proto.subjects import EMBED, GENERATE
from services.cloud.calling.breaker import FAILURES
from tests.mesh.asking import posted
from tests.mesh.house import Mesh
from tests.mesh.telemetry import Telemetry
from tests.unit.cloud.upstream import SHAKES, SPENT, TEXT, Upstream

GOOD = "good-key"
CONFIG = """
providers:
  vendor: {{kind: openrouter, url: "{url}", keys_from: [SPENT_KEY, GOOD_KEY], idle_s: 0.5}}
  near: {{url: "{url}"}}
  weak: {{url: "{url}"}}
  gone: {{url: "http://127.0.0.1:9/v1", models: ["*"]}}
fallbacks:
  "vendor:broken": ["near:caller", "near:brief"]
  "vendor:sorry": ["near:cut", "near:some-model"]
  "gone:*": ["near:*"]
  "near:busy": ["vendor:some-model"]
"""
TURNS = [{"role": "user", "content": "How is the sea?"}]
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": "The sea is"},
    "/v1/responses": {"input": "How is the sea?"},
    "/v1/messages": {"messages": TURNS, "max_tokens": 20},
    "/api/chat": {"messages": TURNS},
    "/api/generate": {"prompt": "The sea is"},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mesh(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("resilience") / "home"
    home.mkdir(mode=0o700)
    (home / "odyssai.yaml").write_text(CONFIG.format(url=upstream.url))
    told = {"SPENT_KEY": SPENT, "GOOD_KEY": GOOD}
    mesh = Mesh(home, [], told, ["--only", "gateway,scheduler,cloud,health"])
    names = ["vendor:some-model", "near:some-model", "weak:some-model"]
    yield mesh.wait_until_it_serves(names)
    upstream.may_end.set()
    upstream.left.set()
    mesh.end()


def asked(mesh: Mesh, model: str, path: str = "/v1/chat/completions", **more: Any) -> Any:
    headers = {name: more.pop(name) for name in list(more) if name.startswith("X_")}
    return posted(mesh, path, DIALECTS[path] | {"model": model} | more, **headers)


def last_event(path: str, body: str) -> str:
    """The last thing that was said, with its event's name where the dialect has names."""
    return body.rstrip().split("\n" if path.startswith("/api/") else "\n\n")[-1]


def is_error(path: str, event: str) -> bool:
    """As the dialect's own clients know one."""
    data = event if path.startswith("/api/") else event.rpartition("data: ")[2]
    said = json.loads(data)
    match path:
        case "/v1/messages":
            return "event: error" in event and said["type"] == "error"
        case "/v1/responses":
            return said["type"] == "response.failed" and bool(said["response"]["error"])
        case "/api/chat" | "/api/generate":
            return isinstance(said["error"], str)
        case _:
            return bool(said["error"]["message"])


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("fault", ["cut", "garbled", "silent", "endless"])
def test_a_stream_that_breaks_ends_with_an_error_of_its_dialect(
    mesh: Mesh, upstream: Upstream, path: str, fault: str
) -> None:
    asked(mesh, "vendor:some-model")  # Or else it would be left alone after a few.
    upstream.left.clear()
    deadline = {"X_Request_Timeout": "0.6"} if fault == "endless" else {}

    answer = asked(mesh, f"vendor:{fault}", path, stream=True, **deadline)

    assert answer.status_code == 200
    assert "more" in answer.text if fault == "endless" else "Calm" in answer.text
    assert is_error(path, last_event(path, answer.text)), answer.text[-500:]
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(("fault", "status"), [("odd", 502), ("picky", 400), ("locked", 502)])
def test_what_fails_before_the_first_word_of_a_stream_has_a_status_of_its_own(
    mesh: Mesh, path: str, fault: str, status: int
) -> None:
    answer = asked(mesh, f"near:{fault}", path, stream=True)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_an_upstream_that_is_well_again_in_a_moment_is_no_fault_at_all(
    mesh: Mesh, upstream: Upstream
) -> None:
    before = len(upstream.asked)

    assert TEXT in asked(mesh, "near:shaky").text
    assert len(upstream.asked) == before + SHAKES + 1


def test_a_key_that_has_had_its_share_is_followed_by_another(
    mesh: Mesh, upstream: Upstream
) -> None:
    answers = [asked(mesh, "vendor:rationed") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert SPENT not in mesh.said.text + mesh.logs()


def test_a_long_thought_before_the_first_byte_is_no_silence(mesh: Mesh) -> None:
    assert TEXT in asked(mesh, "vendor:slow").text, "longer than an answer may be silent"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "route", "text"),
    [
        ("vendor:broken", "vendor:broken > near:caller", "Let me see."),
        ("gone:some-model", "gone:some-model > near:some-model", "Calm"),
    ],
)
def test_the_next_model_answers_in_place_of_one_that_cannot(
    mesh: Mesh, model: str, route: str, text: str, stream: bool
) -> None:
    answer = asked(mesh, model, stream=stream)

    assert answer.status_code == 200
    assert answer.headers["x-odyssai-route"] == route
    assert text in answer.text
    assert f'"model":"{model}"' not in answer.text, "an upstream speaks for itself"


def test_a_fallback_that_breaks_before_anybody_heard_of_it_is_followed_as_well(mesh: Mesh) -> None:
    answer = asked(mesh, "vendor:sorry")

    assert answer.headers["x-odyssai-route"] == "vendor:sorry > near:cut > near:some-model"
    assert answer.json()["choices"][0]["message"]["content"] == TEXT


async def test_what_left_is_told_without_a_word_of_it_and_what_stayed_is_not(mesh: Mesh) -> None:
    async with Telemetry.listen(mesh.access.url("ops")) as telemetry:
        for model in ("near:some-model", "vendor:some-model"):
            assert asked(mesh, model, stream=True).status_code == 200
        told = await telemetry.until("egress")
        request = await telemetry.until("request", lambda t: t["model"] == "vendor:some-model")

    assert (told["provider"], told["model"]) == ("vendor", "vendor:some-model")
    assert (told["status"], told["calls"]) == ("ok", 1)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (9, 5)
    assert told["sent_bytes"] > 100
    assert told["received_bytes"] > 500
    assert (told["request"], told["key"]) == (request["request"], request["key"])
    assert "sea" not in json.dumps(told)


def test_what_must_stay_does_not_leave(mesh: Mesh, upstream: Upstream) -> None:
    before = len(upstream.asked)
    local = {"X_Odyssai_Local_Only": "1"}

    refused = asked(mesh, "vendor:some-model", **local)
    assert len(upstream.asked) == before
    kept = asked(mesh, "near:some-model", **local)
    busy = asked(mesh, "near:busy", **local)
    listed = httpx.get(
        f"{mesh.url}/v1/models", headers={"x-odyssai-local-only": "1"}, trust_env=False
    )

    assert refused.status_code == 403
    assert "local only" in refused.json()["error"]["message"]
    assert kept.status_code == 200
    assert busy.status_code == 429, "its fallback is away"
    assert asked(mesh, "near:busy").headers["x-odyssai-route"].endswith("vendor:some-model")
    assert {model["id"].partition(":")[0] for model in listed.json()["data"]} == {"near", "weak"}


@pytest.fixture
def stand_in(mesh: Mesh) -> str:
    """The vendor's engine id."""
    url = f"{mesh.url}/v1/models/vendor:some-model"
    (engine,) = httpx.get(url, trust_env=False).json()["x_odyssai"]["engines"]
    return str(engine)


async def test_the_cloud_service_sends_away_nothing_that_must_stay_whoever_asks(
    mesh: Mesh, upstream: Upstream, stand_in: str
) -> None:
    named: Any = {"model": "vendor:some-model", "gateway": "g.1", "local_only": True}
    before = len(upstream.asked)
    async with Bus.connect(mesh.access.url("gateway"), "test:local") as bus:
        for subject, question in (
            (GENERATE, Generate(request=RequestId(fresh()), prompt=Text(text="Hi"), **named)),
            (EMBED, Embed(request=RequestId(fresh()), inputs=(Text(text="Hi"),), **named)),
        ):
            with pytest.raises(MeshError) as refused:
                await bus.ask(subject, question, stand_in)
            assert refused.value.code is Code.FORBIDDEN

    assert len(upstream.asked) == before


async def test_an_upstream_that_fails_again_and_again_is_left_alone_and_told_of(
    mesh: Mesh, upstream: Upstream
) -> None:
    async with Telemetry.listen(mesh.access.url("ops")) as telemetry:
        for _ in range(FAILURES):
            assert asked(mesh, "weak:broken").status_code == 502
        before = len(upstream.asked)

        refused = asked(mesh, "weak:some-model")

        assert len(upstream.asked) == before
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == Code.UPSTREAM_DOWN.word
        assert refused.headers["retry-after"]
        alert = await telemetry.until("alert", lambda told: told["alert"] == "upstream_down")
        beat = await telemetry.until("engine", lambda told: told.get("circuit") == "open")
    assert "out of order" in alert["detail"]
    assert beat["provider"] == "weak"
