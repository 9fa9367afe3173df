"""Engines that already run, enrolled into a mesh: a real mlx_lm.server, others on paper."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops import command
from tests.mesh.house import Mesh, free_port, until
from tests.mesh.telemetry import Telemetry
from tests.tiny import make_tiny
from tests.unit.cloud.engines import box as boxes
from tests.unit.cloud.engines.box import CHAT, running

START_S = 60.0
SECRET = "key-of-a-box-0123456789-abcdef"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("enrolling") / "home"
    mesh = Mesh(home, ["none"], {}, ["--only", "gateway,scheduler,cloud"])
    yield mesh.wait_until_it_serves()
    mesh.end()


class MlxServer:
    """A real mlx_lm.server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.model = make_tiny(folder / "tiny")
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self._hub = folder / "hub"
        # It lists the hub's cache, and cannot where there is none.
        (self._hub / "hub").mkdir(parents=True)

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[bytes]"]:
        argv = [
            *(sys.executable, "-m", "mlx_lm.server", "--model", str(self.model)),
            *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "ERROR"),
        ]
        told = {**os.environ, "HF_HOME": str(self._hub), "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(argv, env=told, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def mlx(tmp_path_factory: pytest.TempPathFactory) -> MlxServer:
    return MlxServer(tmp_path_factory.mktemp("mlx"))


class Console:
    """`odyssai`, as somebody types it."""

    def __init__(self, mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = str(mesh.home)
        self._capsys = capsys

    def run(self, *given: str, status: int = 0) -> str:
        ended = command.main([given[0], "--home", self._home, *given[1:]])
        out, err = self._capsys.readouterr()
        assert ended == status, out + err
        return out + err


@pytest.fixture
def console(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(mesh, capsys)


def ask(
    mesh: Mesh, model: str, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    asked = {"model": model, "messages": [{"role": "user", "content": "How is the sea?"}], **more}
    return httpx.post(f"{mesh.url}/v1/chat/completions", json=asked, headers=headers, timeout=20)


def listed(mesh: Mesh) -> dict[str, Any]:
    answer = httpx.get(f"{mesh.url}/v1/models").json()["data"]
    return {entry["id"]: entry["x_odyssai"] for entry in answer}


def answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/health").status_code == 200
    except httpx.HTTPError:
        return False


def broken_off(mesh: Mesh, model: str, server: "subprocess.Popen[bytes]") -> str:
    """All of a stream whose engine is killed after the first of its words."""
    asked = {
        "model": model, "messages": [{"role": "user", "content": "Go on."}], "stream": True,
        "max_tokens": 6000, "logit_bias": {"0": -100, "2": -100},
    }  # fmt: skip
    with httpx.stream("POST", f"{mesh.url}/v1/chat/completions", json=asked, timeout=30) as answer:
        lines = answer.iter_lines()
        begun = next(line for line in lines if '"content":"' in line)
        server.kill()
        return "\n".join([begun, *lines])


def test_a_real_server_serves_while_it_lives_and_again_when_it_is_back(
    mesh: Mesh, mlx: MlxServer, console: Console
) -> None:
    model = f"mlx-lm:{mlx.model}"
    with mlx.serving() as server:
        until(lambda: answers(mlx.root), START_S, "mlx_lm.server")
        said = console.run("enroll", mlx.root)
        assert "mlx_lm.server" in said
        assert model in said
        assert "was enrolled already" in console.run("enroll", f"{mlx.root}/v1")
        until(lambda: model in listed(mesh), what="its model")

        answer = ask(mesh, model, max_tokens=5, seed=1, n=2).json()
        assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
        assert answer["usage"]["completion_tokens"] == 10
        refused = ask(mesh, model, response_format={"type": "json_object"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")
        assert "upstream_error" in broken_off(mesh, model, server)

    until(lambda: model not in listed(mesh), 8, "the end of its model")
    assert "gone" in console.run("enroll", "--list")

    told = boxes.listed({"id": str(mlx.model), "object": "model", "created": 5})
    with running({**boxes.MLX_LM, "/v1/models": told}, mlx.port):
        until(lambda: model in listed(mesh), 8, "its model")
        assert ask(mesh, model).json()["choices"][0]["message"]["content"] == "Calm"


def test_loading_and_unloading_reaches_the_engine_and_its_own_word_counts(
    mesh: Mesh, console: Console
) -> None:
    loaded = ["qwen3:8b"]

    def generate(asked: Any) -> Any:
        (loaded.remove if asked.get("keep_alive") == 0 else loaded.append)(asked["model"])
        return {"done": True}

    def running_now(_: Any) -> Any:
        return {"models": [{"name": name} for name in loaded]}

    with running({**boxes.OLLAMA, "/api/generate": generate, "/api/ps": running_now}) as ollama:
        console.run("enroll", ollama.root, "--name", "oll")
        until(lambda: "oll:bge:latest" in listed(mesh), what="its models")
        assert listed(mesh)["oll:qwen3:8b"]["loaded"]
        assert not listed(mesh)["oll:bge:latest"]["loaded"]

        assert "loaded" in console.run("load", "oll:bge:latest")
        assert listed(mesh)["oll:bge:latest"]["loaded"]
        assert "unloaded" in console.run("unload", "oll:bge:latest")
        assert "context" in console.run("load", "oll:bge:latest", "--context", "9", status=1)

        empty = {"model": "oll:qwen3:8b", "keep_alive": 0}
        answer = httpx.post(f"{mesh.url}/api/generate", json=empty, timeout=20)
        assert answer.json()["done_reason"] == "unload"
        assert loaded == []


async def test_what_it_cannot_take_at_once_waits_here_and_is_told_its_place(
    mesh: Mesh, console: Console
) -> None:
    at_once = [0, 0]
    may_end = threading.Event()

    async def held() -> list[str]:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.to_thread(may_end.wait, 20)
        at_once[0] -= 1
        return ["Calm"]

    with running({**boxes.LLAMA_CPP_PYTHON, CHAT: held}) as engine:
        await asyncio.to_thread(console.run, "enroll", engine.root, "--name", "one")
        until(lambda: "one:tiny" in listed(mesh), what="its model")
        async with Telemetry.listen(mesh.access.url("ops")) as telemetry:
            asked = []
            for waiting in range(3):
                asked.append(asyncio.create_task(asyncio.to_thread(ask, mesh, "one:tiny")))
                await telemetry.until("engine", partial(_has_waiting, waiting))
            may_end.set()
            told = [await answer for answer in asked]

    assert [answer.status_code for answer in told] == [200, 200, 200]
    assert at_once[1] == 1
    assert told[2].headers["x-odyssai-queue-place"] == "1"


def _has_waiting(waiting: int, beat: dict[str, Any]) -> bool:
    return beat.get("provider") == "one" and (beat["running"], beat.get("queued", 0)) == (
        1,
        waiting,
    )


def test_another_mesh_is_one_engine_and_a_request_passes_through_one_only(
    mesh: Mesh, console: Console
) -> None:
    with running(boxes.MESH) as other:
        answer = httpx.post(
            f"{mesh.url}/admin/enroll", json={"url": other.root, "name": "far"}, timeout=30
        )
        assert answer.status_code == 201
        assert answer.json()["models"] == ["far:tiny", "far:stored"]
        again = httpx.post(f"{mesh.url}/admin/enroll", json={"url": other.root}, timeout=30)
        assert (again.status_code, again.json()["name"]) == (200, "far")
        until(lambda: "far:tiny" in listed(mesh), what="its models")

        assert listed(mesh)["far:tiny"]["hops"] == 1
        assert ask(mesh, "far:tiny").json()["choices"][0]["message"]["content"] == "Calm"
        assert any(told.get("x-odyssai-hops") == "1" for told in other.headers)
        before = len(other.posted(CHAT))
        refused = ask(mesh, "far:tiny", {"x-odyssai-hops": "1"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (508, "loop_detected")
        assert len(other.posted(CHAT)) == before

    assert "no longer enrolled" in console.run("unenroll", "far")
    assert "not enrolled" in console.run("unenroll", "far")


def test_an_address_that_is_no_engine_is_told_and_enrols_nothing(
    mesh: Mesh, console: Console
) -> None:
    with running({}) as nothing:
        assert "no models at" in console.run("enroll", nothing.root, status=1)

        assert nothing.root not in console.run("enroll", "--list")


def test_one_address_is_enrolled_under_one_name(mesh: Mesh, console: Console) -> None:
    with running(boxes.VLLM) as engine:
        console.run("enroll", engine.root, "--name", "va")

        assert "is enrolled as 'va'" in console.run("enroll", engine.root, "--name", "vb", status=1)
        console.run("unenroll", "va")


def test_a_key_is_shown_to_the_engine_and_to_nobody_else(
    mesh: Mesh, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOX_KEY", SECRET)
    with running(boxes.VLLM) as engine:
        said = console.run("enroll", engine.root, "--name", "shut", "--key-from-env", "BOX_KEY")
        model = "shut:Qwen/Qwen3-8B"
        until(lambda: model in listed(mesh), what="its model")
        assert ask(mesh, model).status_code == 200

        shown = [told.get("authorization") for told in engine.headers]
        assert shown == [f"Bearer {SECRET}"] * len(shown)
        said += console.run("enroll", "--list", "--json")
        said += httpx.get(f"{mesh.url}/admin/config").text
        assert SECRET not in said + mesh.logs()
        console.run("unenroll", "shut")
