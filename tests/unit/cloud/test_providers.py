"""Providers come, change and go while a whole mesh runs; nobody but the cloud service has a key."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import openai
import pytest

from ops import command
from tests.mesh.house import Mesh, until
from tests.mesh.telemetry import Telemetry
from tests.unit.cloud.upstream import PIECES, TEXT, Upstream

FIRST = "vendor-key-of-the-first-kind-0123456789"
SECOND = "vendor-key-of-another-kind-9876543210"
WRONG = "vendor-key-that-nobody-knows-5555555555"
OVER_HTTP = "vendor-key-that-came-over-http-7777777"
SECRETS = (FIRST, SECOND, WRONG, OVER_HTTP)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running() as upstream:
        upstream.accepted = {FIRST}
        yield upstream


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Upstream.running() as open_to_all:
        mesh = Mesh(
            tmp_path_factory.mktemp("providers") / "home",
            [],
            {"ODYSSAI_UPSTREAMS": f"env={open_to_all.url}"},
            ["--only", "gateway,scheduler,cloud"],
        )
        yield mesh.wait_until_it_serves(["env:some-model"])
        mesh.end()


class Console:
    """`odyssai provider`, as somebody types it."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.said = ""
        """Everything, to both outputs."""

    def run(self, *given: str, key: str = "", status: int = 0, **told: str) -> str:
        out = io.StringIO()
        with (
            patch.object(sys, "stdin", io.StringIO(key)),
            patch.dict(os.environ, told),
            redirect_stdout(out),
            redirect_stderr(out),
        ):
            ended = command.main(["provider", *given, "--home", str(self._mesh.home)])
        self.said += out.getvalue()
        assert ended == status, out.getvalue()
        return out.getvalue()


@pytest.fixture(scope="module")
def console(mesh: Mesh) -> Console:
    return Console(mesh)


@pytest.fixture(scope="module")
def lab(console: Console, mesh: Mesh, upstream: Upstream) -> str:
    """A provider that was added with its first key."""
    said = console.run("add", "lab", "--url", upstream.url, key=f"{FIRST}\n")
    assert "vendor…6789: accepted" in said
    until(lambda: "lab:some-model" in mesh.models(), what="lab's models")
    return "lab"


def ask(mesh: Mesh, model: str, **asked: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Sea?"}], **asked}
    return httpx.post(f"{mesh.url}/v1/chat/completions", json=body, timeout=20, trust_env=False)


def test_what_was_added_is_listed_and_answers(mesh: Mesh, lab: str, console: Console) -> None:
    answer = ask(mesh, "lab:some-model")

    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    listed = console.run("list")
    assert "main vendor…6789" in listed
    assert "openai-compatible" in listed
    assert "env" in listed


def test_a_wrong_key_is_told_with_the_remedy_and_not_repeated(
    mesh: Mesh, console: Console, upstream: Upstream
) -> None:
    said = console.run("add", "shut", "--url", upstream.url, key=WRONG, status=1)

    assert "shut" in said
    assert "key" in said
    assert not any(name.startswith("shut:") for name in mesh.models())
    assert WRONG not in said
    answer = ask(mesh, "shut:some-model")
    assert answer.status_code == 502
    assert "'shut' serves nothing now" in answer.json()["error"]["message"]
    console.run("rm", "shut")


def test_a_key_is_rotated_under_load_and_no_request_fails(
    mesh: Mesh, lab: str, console: Console, upstream: Upstream
) -> None:
    """What runs goes on with the old key; the vendor takes that back once the new one is in use."""
    upstream.may_end.clear()
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="x", max_retries=0) as client:
        running = client.chat.completions.create(
            model="lab:patient", messages=[{"role": "user", "content": "x"}], stream=True
        )
        said = [next(iter(running)).choices[0].delta.content or ""]
        failed, done, is_over = [], [], threading.Event()

        def load() -> None:
            while not is_over.is_set():
                answer = ask(mesh, "lab:some-model")
                (done if answer.status_code == 200 else failed).append(answer.text)

        workers = [threading.Thread(target=load) for _ in range(3)]
        for worker in workers:
            worker.start()
        try:
            assert upstream.accepted is not None
            upstream.accepted.add(SECOND)
            console.run("key", "rotate", lab, "--key-from-env", "NEW", NEW=SECOND)
            until(lambda: upstream.keys[-1] == f"Bearer {SECOND}", what="the new key")
            upstream.accepted.discard(FIRST)
            so_far = len(done)
            until(lambda: len(done) > so_far + 10, what="answers with the new key alone")
        finally:
            is_over.set()
            for worker in workers:
                worker.join()
        upstream.may_end.set()
        said += [chunk.choices[0].delta.content or "" for chunk in running if chunk.choices]

    assert failed == []
    assert "".join(said) == "".join(PIECES)


def test_what_is_hidden_is_neither_listed_nor_reachable(mesh: Mesh, lab: str) -> None:
    configure(mesh, {"hides": ["cut*"], "prices": {"some-*": {"prompt": 1.5, "completion": 2}}})
    until(lambda: "lab:cut" not in mesh.models(), what="lab:cut hidden")

    answer = ask(mesh, "lab:cut")
    assert answer.status_code == 404
    assert "The operator hides 'cut'" in answer.json()["error"]["message"]
    entry = httpx.get(f"{mesh.url}/v1/models/lab:some-model", trust_env=False).json()
    assert entry["x_odyssai"]["price"] == {"prompt": 1.5, "completion": 2.0}
    assert ask(mesh, "lab:some-model").status_code == 200


def test_a_model_that_the_catalog_lacks_takes_an_explicit_pattern(
    mesh: Mesh, lab: str, upstream: Upstream
) -> None:
    refused = ask(mesh, "lab:tomorrow")
    assert refused.status_code == 404
    assert "does not list a model 'tomorrow'" in refused.json()["error"]["message"]
    assert "providers.lab.models" in refused.json()["error"]["message"]

    configure(mesh, {"models": ["*"]}, {"aliases": {"near-*": "lab:*"}})
    # The upstream does not have it either, and says so itself.
    until(lambda: "no such model upstream" in ask(mesh, "lab:tomorrow").text, what="it was asked")
    assert upstream.asked[-1]["model"] == "tomorrow"
    assert ask(mesh, "near-some-model").json()["choices"][0]["message"]["content"] == TEXT


def test_a_service_that_starts_anew_lists_at_once_and_has_its_keys_while_the_upstream_is_slow(
    mesh: Mesh, lab: str, upstream: Upstream
) -> None:
    before = mesh.process_of("cloud")
    upstream.may_tell.clear()
    try:
        before.kill()
        until(lambda: before.pid not in mesh.pids("cloud"), what="the old process gone")
        until(lambda: mesh.pids("cloud") and "lab:some-model" in mesh.models(), what="its models")
        assert ask(mesh, "lab:some-model").status_code == 200
    finally:
        upstream.may_tell.set()


def test_over_http_it_is_the_same_and_all_of_it_is_written_down(
    mesh: Mesh, upstream: Upstream, console: Console
) -> None:
    assert upstream.accepted is not None
    upstream.accepted.add(OVER_HTTP)
    with httpx.Client(base_url=f"{mesh.url}/admin/providers", trust_env=False) as admin:
        made = admin.post("", json={"name": "http", "url": upstream.url, "key": OVER_HTTP})
        again = admin.post("", json={"name": "http", "url": upstream.url})
        tested = admin.post("/http/test").json()
        rotated = admin.put("/http/keys/main", json={"key": SECOND}).json()
        more = admin.put("/http/keys/spare", json={"key": OVER_HTTP})
        shown = admin.get("/http").json()
        odd = admin.put("/http/keys/main", json={"key": "two\nlines"})
        gone = [admin.delete("/http/keys/spare"), admin.delete("/http"), admin.delete("/http")]

    assert made.status_code == 201, made.text
    assert again.status_code == 409
    assert (tested["problem"], tested["keys"][0]["hint"]) == ("", "vendor…7777")
    assert tested["told"] == tested["served"] > 10
    assert rotated["hint"] == "vendor…3210"
    assert more.status_code == 200
    assert [key["name"] for key in shown["keys"]] == ["main", "spare"]
    assert odd.status_code == 400
    assert [answer.status_code for answer in gone] == [200, 200, 404]
    until(lambda: not any(n.startswith("http:") for n in mesh.models()), what="http's models gone")
    acts = audit(mesh)
    for act in ("add", "key.rotate", "key.add", "key.remove", "remove"):
        assert (f"provider.{act}", "ok") in acts


def test_one_of_the_environment_is_taken_away_as_well(mesh: Mesh, console: Console) -> None:
    console.run("rm", "env")

    until(lambda: not any(n.startswith("env:") for n in mesh.models()), what="env's models gone")
    assert "env" not in console.run("list").split()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["add", "x"], "--kind openai"),
        (["add", "X", "--kind", "openai"], "Names hold a-z"),
        (["add", "lab", "--url", "http://x/v1"], "already"),
        (["add", "y", "--url", "ftp://x"], "url"),
        (["key", "add", "lab", "main"], "Rotate it"),
        (["key", "rotate", "lab", "none"], "keeps no key"),
        (["key", "add", "lab", WRONG], "like a key itself"),
        (["key", "add", "lab", "sk-short"], "like a key itself"),
        (["test", "nobody"], "no provider 'nobody'"),
        (["rm", "nobody"], "no provider 'nobody'"),
    ],
)
def test_mistakes_are_told_with_what_to_do(
    console: Console, lab: str, given: list[str], words: str
) -> None:
    assert words in console.run(*given, key=SECOND, status=1)


async def test_no_key_is_anywhere_but_where_it_is_used(
    mesh: Mesh, lab: str, console: Console
) -> None:
    """Logs, everything in the home with the bus's own state among it, telemetry, process lists."""
    async with Telemetry.listen(mesh.access.url("ops"), engines=1) as telemetry:
        await telemetry.until("engine")
        told = json.dumps(telemetry.heard)
    processes = "".join(process_list(pid.pid) for pid in mesh.family())
    files = [path for path in mesh.home.rglob("*") if path.is_file()]

    assert any("provider_keys" in str(path) for path in files)
    for secret in SECRETS:
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
        assert secret not in console.said + told + processes + mesh.said.text


def test_what_is_removed_is_gone_with_its_keys(mesh: Mesh, lab: str, console: Console) -> None:
    console.run("rm", lab)

    until(lambda: not any(n.startswith("lab:") for n in mesh.models()), what="lab's models gone")
    assert ask(mesh, "lab:some-model").status_code == 404
    assert lab not in console.run("list").split()


def configure(mesh: Mesh, provider: dict[str, Any], more: dict[str, Any] | None = None) -> None:
    body = {"providers": {"lab": provider}, **(more or {})}
    answer = httpx.patch(f"{mesh.url}/admin/config", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text


def audit(mesh: Mesh) -> set[tuple[str, str]]:
    out, before = io.StringIO(), signal.getsignal(signal.SIGPIPE)
    with redirect_stdout(out):
        assert command.main(["audit", "--json", "--home", str(mesh.home)]) == 0
    # It lets a closed pipe end its process, which here is that of the tests.
    signal.signal(signal.SIGPIPE, before)
    told = out.getvalue()
    events = [json.loads(line) for line in told.splitlines()]
    assert not any(secret in told for secret in SECRETS)
    return {(event["act"], event.get("outcome", "ok")) for event in events}


def process_list(pid: int) -> str:
    folder = Path(f"/proc/{pid}")
    if not folder.exists():
        return subprocess.run(
            ["ps", "eww", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return "".join(
        (folder / name).read_bytes().decode(errors="replace")
        for name in ("cmdline", "environ")
        if os.access(folder / name, os.R_OK)
    )
