"""`odyssai launch`: what a tool is started with, told by the tool itself."""

import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops import command, up
from ops.arguments.tools import CODING_TOOLS
from ops.coding_client import CLIENTS

FAKE = """#!{python}
import json, os, sys
with open(os.environ["RECORD"], "w") as record:
    json.dump({{"argv": sys.argv, "env": dict(os.environ)}}, record)
"""


def entry(id: str, kind: str = "llm", **more: Any) -> dict[str, Any]:
    known = {"kind": kind, "context_length": 40_000, "max_output_tokens": 8_000}
    return {"id": id, "x_odyssai": known | {"supports_tools": True} | more}


ENTRIES = [
    entry("aaa/embedder", "embedder"),
    entry("mute", supports_tools=False),
    entry("org/Coder-1.0"),
    entry("see 'er", "vlm"),
]


@pytest.fixture
def models() -> list[dict[str, Any]]:
    return list(ENTRIES)


@pytest.fixture
def url(models: list[dict[str, Any]]) -> Iterator[str]:
    """Of a mesh that lists models and does nothing else."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/v1/models"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"object": "list", "data": models}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


class Tools:
    """Stand-ins for the tools on a PATH of their own, and what the last one was started with."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "record.json"
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in CLIENTS:
            fake = self._bin / name
            fake.write_text(FAKE.format(python=sys.executable))
            fake.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        own = {"PATH": f"{self._bin}:/usr/bin:/bin", "RECORD": str(self._record)}
        return {"PYTHONPATH": str(up.ROOT), "HTTP_PROXY": "http://127.0.0.1:9"} | own | more

    def launch(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops.command", "launch", *argv],
            capture_output=True, text=True, check=False, env=self.environment(**more), timeout=30,
        )  # fmt: skip

    def run(self, *argv: str, **more: str) -> tuple[list[str], dict[str, str]]:
        done = self.launch(*argv, **more)
        assert done.returncode == 0, done.stderr
        return self.told()

    def told(self) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment that a tool has seen."""
        told = json.loads(self._record.read_text())
        self._record.unlink()
        return told["argv"][1:], told["env"]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


def test_claude_is_pointed_at_the_mesh_and_at_nothing_else(tools: Tools, url: str) -> None:
    argv, env = tools.run(
        "claude", "--url", url, "--", "-p", "say hi", "--model",
        ANTHROPIC_API_KEY="real", CLAUDE_CODE_USE_BEDROCK="1", HOME="/nowhere",
    )  # fmt: skip

    assert argv == ["-p", "say hi", "--model"]
    assert (env["ANTHROPIC_BASE_URL"], env["HOME"]) == (url, "/nowhere")
    assert env["ANTHROPIC_AUTH_TOKEN"]
    assert not {"ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"} & set(env)
    assert {env[name] for name in env if name.endswith("_MODEL")} == {"org/Coder-1.0"}
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "40000"
    assert env["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"


def test_codex_gets_a_provider_in_its_arguments(tools: Tools, url: str) -> None:
    argv, env = tools.run("codex", "--url", f"{url}/v1/", "--", "exec", "fix it")

    assert argv[-2:] == ["exec", "fix it"]
    assert argv[:-2:2] == ["-c"] * (len(argv) // 2 - 1)
    settings = tomllib.loads("\n".join(argv[1:-2:2]))
    assert (settings["model"], settings["model_provider"]) == ("org/Coder-1.0", "odyssai")
    assert settings["model_context_window"] == 40_000
    provider = settings["model_providers"]["odyssai"]
    assert (provider["base_url"], provider["wire_api"]) == (f"{url}/v1", "responses")
    assert env[provider["env_key"]]


def test_opencode_gets_a_configuration_that_knows_every_model_that_chats(
    tools: Tools, url: str
) -> None:
    argv, env = tools.run("opencode", "--url", url, "--model", "see 'er")
    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    provider = config["provider"]["odyssai"]

    assert argv == []
    assert config["model"] == config["small_model"] == "odyssai/see 'er"
    assert provider["options"]["baseURL"] == f"{url}/v1"
    assert set(provider["models"]) == {"mute", "org/Coder-1.0", "see 'er"}
    assert provider["models"]["mute"]["limit"] == {"context": 40_000, "output": 8_000}


@pytest.mark.parametrize("tool", CLIENTS)
def test_what_is_printed_does_the_same_in_a_shell(tools: Tools, url: str, tool: str) -> None:
    given = [tool, "--url", url, "--model", "see 'er"]
    passed_on = ["--", "a b", "$HOME", "it's"]
    started = tools.run(*given, *passed_on, ANTHROPIC_API_KEY="real")
    printed = tools.launch(*given, "--print", *passed_on).stdout

    subprocess.run(
        ["sh", "-eu", "-c", printed],
        check=True, timeout=30, env=tools.environment(ANTHROPIC_API_KEY="real"),
    )  # fmt: skip
    argv, env = tools.told()
    assert argv == started[0]
    assert argv[-3:] == ["a b", "$HOME", "it's"]
    shells = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert {k: v for k, v in env.items() if k not in shells} == {
        k: v for k, v in started[1].items() if k not in shells
    }


def test_nothing_is_started_when_lines_are_printed(tools: Tools, url: str, tmp_path: Path) -> None:
    done = tools.launch("claude", "--url", url, "--print")

    assert done.returncode == 0
    assert not (tmp_path / "record.json").exists()


def test_a_tool_that_is_missing_is_named_with_the_way_to_get_it(tools: Tools, url: str) -> None:
    done = tools.launch("claude", "--url", url, PATH="/nowhere")

    assert done.returncode == 1
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr
    assert tools.launch("claude", "--url", url, "--print", PATH="/nowhere").returncode == 0


def test_an_address_where_nobody_answers_is_said(tools: Tools) -> None:
    done = tools.launch("codex", "--url", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "no mesh answers at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_without_a_mesh_is_said(tools: Tools, tmp_path: Path) -> None:
    done = tools.launch("codex", "--home", str(tmp_path))

    assert done.returncode == 1
    assert "odyssai up" in done.stderr


@pytest.mark.parametrize("wanted", ["absent", "aaa/embedder"])
def test_a_model_that_cannot_be_had_is_refused_with_those_that_can(
    tools: Tools, url: str, wanted: str
) -> None:
    done = tools.launch("claude", "--url", url, "--model", wanted)

    assert done.returncode == 1
    assert "mute, org/Coder-1.0, see 'er" in done.stderr


def test_a_mesh_without_a_model_that_chats_is_said(
    tools: Tools, url: str, models: list[dict[str, Any]]
) -> None:
    models[:] = models[:1]

    assert "no model that chats" in tools.launch("claude", "--url", url).stderr


def test_what_is_likely_to_disappoint_is_said_and_done(
    tools: Tools, url: str, models: list[dict[str, Any]]
) -> None:
    models[:] = [entry("tiny", supports_tools=False, context_length=512)]

    done = tools.launch("claude", "--url", url)

    assert done.returncode == 0
    assert "does not call tools" in done.stderr
    assert "512 tokens" in done.stderr


def test_a_model_of_unknown_size_is_not_given_one(
    tools: Tools, url: str, models: list[dict[str, Any]]
) -> None:
    models[:] = [entry("far", context_length=0)]

    _, env = tools.run("claude", "--url", url)
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS" not in env
    argv, _ = tools.run("codex", "--url", url)
    assert not any("model_context_window" in part for part in argv)
    _, env = tools.run("opencode", "--url", url)
    known = json.loads(env["OPENCODE_CONFIG_CONTENT"])["provider"]["odyssai"]["models"]
    assert known == {"far": {"name": "far"}}


def test_the_command_knows_every_tool() -> None:
    assert tuple(CLIENTS) == CODING_TOOLS


def test_only_what_stands_behind_two_dashes_is_for_the_tool() -> None:
    assert command._split(["launch", "claude", "--", "--", "x"]) == (
        ["launch", "claude"],
        ["--", "x"],
    )
    assert command._split(["watch", "--"]) == (["watch", "--"], [])
