"""Two models on a node that holds one of them: whoever asks is served, in turns."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.mesh.house import Mesh
from tests.tiny import make_tiny

RESIDENCE_S = 1.0
MEMORY = "450MB"
"""An engine of a tiny model is reserved some 270 MB, most of it for its process."""
LONG = 800
"""Tokens of an answer that goes on for longer than a residence."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    shelf: Path = tmp_path_factory.mktemp("shelf")
    for name in ("red", "blue"):
        make_tiny(shelf / name)
    home: Path = tmp_path_factory.mktemp("crowded") / "home"
    home.mkdir()
    (home / "odyssai.yaml").write_text(f"loading:\n  min_residence_s: {RESIDENCE_S}\n")
    mesh = Mesh(home, ["none"], {"ODYSSAI_MODEL_DIRS": str(shelf), "ODYSSAI_MEMORY": MEMORY})
    yield mesh.wait_until_it_serves()
    mesh.end()


class Asked:
    """A streaming request: what its client is told while it waits, then what it is answered."""

    def __init__(self, http: httpx.AsyncClient, model: str, tokens: int = 3) -> None:
        self._http = http
        self._body = {
            "model": model, "max_tokens": tokens, "stream": True,
            "messages": [{"role": "user", "content": "Hi"}],
        }  # fmt: skip
        self.signs: list[str] = []
        self.finish = ""
        self.began = asyncio.Event()

    async def answered(self) -> "Asked":
        async with self._http.stream("POST", "/v1/chat/completions", json=self._body) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                self._hear(line)
        return self

    def _hear(self, line: str) -> None:
        if line.startswith(": "):
            self.signs.append(line[2:])
        elif line.startswith("data: {"):
            self.began.set()
            choice = json.loads(line[6:])["choices"][0]
            self.finish = choice["finish_reason"] or self.finish


async def test_models_that_cannot_coexist_are_served_in_turns(crowded: Mesh) -> None:
    async with httpx.AsyncClient(base_url=crowded.url, timeout=60, trust_env=False) as http:
        before = await Asked(http, "blue").answered()
        red, blue, again = Asked(http, "red", LONG), Asked(http, "blue"), Asked(http, "red")
        async with asyncio.TaskGroup() as asking:
            asking.create_task(red.answered())
            await red.began.wait()
            asking.create_task(blue.answered())
            await blue.began.wait()
            asking.create_task(again.answered())
        jobs = (await http.get("/admin/jobs")).json()["jobs"]

    assert all(asked.finish in ("length", "stop") for asked in (before, red, blue, again))
    # Each for the end of another's residence, and then for its load.
    for waited in (red, blue, again):
        assert any("prefill" not in sign for sign in waited.signs)
    assert any("red" in sign or "turn" in sign for sign in blue.signs)
    assert [job["order"]["model"] for job in reversed(jobs)] == ["blue", "red", "blue", "red"]
    assert not any(job["error"] for job in jobs)
