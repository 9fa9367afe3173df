"""Sixteen streams of all kinds, and one of two engines is killed or stands still."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ops.joining.local import own_url
from proto.ids import EngineId, node_of
from tests.mesh.asking import chat, message_body, text
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import NODE, Command, Mesh, soon
from tests.parrot import MARKERS
from tests.tiny import TEMPLATE, make_tiny

pytestmark = pytest.mark.timeout(180)
"""Where cores are shared, two machines take long to start."""
SPAN = 600
"""Tokens of an answer: more than is said before all of them have begun."""
UNDER_WAY = 12
"""Lines of a stream after which it has begun to answer."""
FOLLOW_UPS = 60
LIST = {"type": "array", "items": {"enum": ["ebb", "flow", "tide"]}, "minItems": 400}
WEIGH = {
    "name": "weigh",
    "parameters": {"type": "object", "properties": {"moons": LIST}, "required": ["moons"]},
}
FORM = {"type": "json_schema", "json_schema": {"name": "tides", "schema": LIST}}
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"

Body = dict[str, Any]


def asked(**more: Any) -> Body:
    usual = {"model": "thinker", "max_tokens": SPAN, "stream": True, "reasoning_effort": "none"}
    return usual | more


def response(**more: Any) -> Body:
    usual = {"input": "Tell me of tides.", "temperature": 0, "max_output_tokens": SPAN}
    return {"model": "thinker", "stream": True} | usual | more


KINDS: dict[str, tuple[str, Body]] = {
    "plain": (CHAT, chat(**asked())),
    "usage": (CHAT, chat(**asked(content="Ebb?", stream_options={"include_usage": True}))),
    "seeded": (CHAT, chat(**asked(temperature=1.2, top_p=0.9, seed=7))),
    "seeded too": (CHAT, chat(**asked(temperature=0.8, top_k=40, seed=8))),
    "penalised": (CHAT, chat(**asked(presence_penalty=1.0, frequency_penalty=0.3))),
    "logprobs": (CHAT, chat(**asked(logprobs=True, top_logprobs=2))),
    "choices": (CHAT, chat(**asked(temperature=1, seed=3, n=2))),
    "thinking": (CHAT, chat(**asked(reasoning_effort="minimal"))),
    "format": (CHAT, chat(**asked(response_format=FORM, max_tokens=SPAN))),
    "call": (CHAT, chat(**asked(
        tools=[{"type": "function", "function": WEIGH}], tool_choice="required",
        max_tokens=SPAN,
    ))),
    "text": ("/v1/completions", text(model="thinker", max_tokens=SPAN, stream=True)),
    "message": (MESSAGES, message_body(model="thinker", max_tokens=SPAN, stream=True)),
    "message that calls": (MESSAGES, message_body(
        model="thinker", max_tokens=SPAN, stream=True, tool_choice={"type": "any"},
        tools=[{"name": "weigh", "input_schema": WEIGH["parameters"]}],
    )),
    "response": (RESPONSES, response()),
    "response in a format": (RESPONSES, response(
        text={"format": {"type": "json_schema", "name": "tides", "schema": LIST}},
        max_output_tokens=SPAN,
    )),
    "ollama": ("/api/chat", {
        "model": "thinker", "messages": [{"role": "user", "content": "Flow?"}],
        "options": {"temperature": 0, "num_predict": SPAN},
    }),
}  # fmt: skip

_VARYING = re.compile(
    r'"(?:id|call_id|item_id|response_id|tool_use_id|created_at|created|completed_at|\w+_duration'
    r'|cached_tokens|input_tokens|cache_\w+_tokens|cache_write_tokens|prompt_cache_key)":'
    r'(?:"[^"]*"|[\d.]+|null)'
)
_FRACTION = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
"""Times, and log-probabilities, whose last digits are rounding's."""


def as_said(lines: list[str]) -> list[str]:
    """What a stream tells, event by event, without what differs between any two answers."""
    told = (line for line in lines if line and not line.startswith(":"))
    plain = (_FRACTION.sub("#", _VARYING.sub("", line)) for line in told)
    return [line for line in plain if not any(sign in line for sign in _SIGNS_OF_LIFE)]


_SIGNS_OF_LIFE = ("ping", '"content":""},"done":false')


class Asked:
    """One stream being read."""

    def __init__(self, http: httpx.AsyncClient, kind: str) -> None:
        self.kind = kind
        self.lines: list[str] = []
        self.engine = ""
        self.task = asyncio.create_task(self._read(http))

    async def _read(self, http: httpx.AsyncClient) -> list[str]:
        path, body = KINDS[self.kind]
        async with http.stream("POST", path, json=body) as answer:
            self.engine = answer.headers.get("x-odyssai-engine", "")
            async for line in answer.aiter_lines():
                self.lines.append(line)
        assert answer.status_code == 200, self.lines
        said = as_said(self.lines)
        # Nobody says which of two choices is told first.
        return sorted(said, key=lambda line: '"index":1' in line) if "n" in body else said


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "thinker"
    opened = TEMPLATE.replace("assistant\n' }}{% endif", "assistant\n<think>' }}{% endif")
    assert opened != TEMPLATE
    return make_tiny(folder, markers=MARKERS, template=opened)


@dataclass
class Pair:
    """Two machines with an engine of one model each."""

    mesh: Mesh
    joined: Command

    def engines(self) -> dict[str, psutil.Process]:
        """Those that serve, by their machine."""
        url = f"{self.mesh.url}/v1/models/thinker"
        told = httpx.get(url, timeout=5, trust_env=False).json().get("x_odyssai", {})
        serving = map(node_of, told.get("engines", ()))
        families = {NODE: self.mesh, "b": self.joined}
        return {node: families[node].process_of("engine") for node in serving}


@pytest.fixture(scope="module")
def pair(start_mesh: OwnMesh, thinker: Path, tmp_path_factory: Any) -> Iterator[Pair]:
    """Engines die by the tests' hands, which says nothing against the model."""
    told = {"ODYSSAI_CRASH_LIMIT": "0"}
    mesh = start_mesh(thinker, told=told)
    url = asyncio.run(own_url(mesh.access, "runner", "b"))
    joined = Command(
        "runner", "--node", "b", "--home", str(tmp_path_factory.mktemp("b")),
        "--model", str(thinker), told=told | {"ODYSSAI_NATS": url},
    )  # fmt: skip
    yield Pair(mesh, joined)
    joined.end()


@pytest.fixture
async def http(pair: Pair) -> AsyncIterator[httpx.AsyncClient]:
    await soon(lambda: len(pair.engines()) == 2, 60, "two engines")
    async with httpx.AsyncClient(base_url=pair.mesh.url, timeout=100, trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, list[str]]:
    """What each kind of stream tells where nothing happens; filled by who asks first."""
    return {}


async def all_of(asked: list[Asked]) -> dict[str, list[str]]:
    async with asyncio.timeout(100):
        return {each.kind: await each.task for each in asked}


async def follow_up(http: httpx.AsyncClient) -> str:
    answer = await http.post(CHAT, json=chat(model="thinker", max_tokens=4))
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


@pytest.mark.parametrize("harm", [psutil.Process.kill, psutil.Process.suspend])
async def test_no_stream_ends_or_differs(
    pair: Pair,
    http: httpx.AsyncClient,
    undisturbed: dict[str, list[str]],
    harm: Callable[[psutil.Process], None],
) -> None:
    if not undisturbed:
        undisturbed |= await all_of([Asked(http, kind) for kind in KINDS])
    both = pair.engines()
    asked = [Asked(http, kind) for kind in KINDS]
    await soon(lambda: all(len(each.lines) > UNDER_WAY for each in asked), 60, "all under way")
    assert not any(each.task.done() for each in asked)
    at = [node_of(EngineId(each.engine)) for each in asked]
    victim = max(both, key=at.count)

    harm(both[victim])

    told = await all_of(asked)
    assert {kind for kind in KINDS if told[kind] != undisturbed[kind]} == set()
    said = await asyncio.gather(*(follow_up(http) for _ in range(FOLLOW_UPS)))
    assert len(said) == FOLLOW_UPS
    assert len(set(said)) == 1
