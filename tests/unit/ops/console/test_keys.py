"""`odyssai key` and `odyssai audit`, against a real bus."""

import json
from pathlib import Path
from typing import get_args

import pytest

from ops import command
from ops.arguments.keys import SCOPES
from proto.config import Scope
from proto.keys import prefix_of
from tests.conftest import NatsServer


class Terminal:
    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self.err = ""

    def run(self, *given: str, status: int = 0) -> str:
        self._capsys.readouterr()
        assert command.main([*given, "--nats", self._url]) == status
        told = self._capsys.readouterr()
        self.err = told.err
        return told.out


@pytest.fixture
def terminal(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(nats_server.url, capsys)


def test_a_key_is_printed_once_listed_and_revoked_and_all_of_it_is_written_down(
    terminal: Terminal,
) -> None:
    key = terminal.run(
        "key", "create", "ci", "--scope", "inference", "--model", "org/*", "--expires", "30d",
        "--rate", "60", "--token-rate", "200k", "--budget", "5M/day", "--budget", "1G",
        "--usd", "2.50/day", "--usd", "40", "--owner", "anna", "--local-only",
    ).strip()  # fmt: skip
    assert "kept nowhere" in terminal.err
    (listed,) = terminal.run("key", "list").splitlines()[1:]
    shown = json.loads(terminal.run("key", "show", "ci", "--json"))

    assert prefix_of(key.encode()) is not None
    assert listed.split()[:2] == ["ci", key[:12] + "_…"]
    for words in ("anna", "inference", "org/*", "60 requests/min", "0 of 5000000/day", "in 30 d",
                  "$0.00 of $2.50/day, $0.00 of $40.00"):  # fmt: skip
        assert words in listed
    assert "local only" in listed
    assert shown["settings"]["tokens_in_all"] == 10**9
    assert shown["settings"]["usd_per_day"] == 2.5
    assert key not in json.dumps(shown)
    assert "sha256" not in json.dumps(shown)

    terminal.run("key", "create", "ci", status=1)
    assert "There is a key 'ci' already" in terminal.err
    terminal.run("key", "revoke", "ci")
    terminal.run("key", "revoke", "ci", status=1)
    assert "There is no key 'ci'" in terminal.err
    acts = [json.loads(line) for line in terminal.run("audit", "--json").splitlines()]
    assert [(each["act"], each["target"], each["outcome"]) for each in acts] == [
        ("key.create", "ci", "ok"),
        ("key.create", "ci", "conflict"),
        ("key.revoke", "ci", "ok"),
        ("key.revoke", "ci", "not_found"),
    ]
    assert "key.create ci · by " in terminal.run("audit")
    assert key not in terminal.run("audit", "--json")


def test_a_key_of_the_configuration_is_listed_and_taken_back_over_the_file(
    terminal: Terminal,
) -> None:
    terminal.run("config", "set", "keys/old", f"{{sha256: {'a' * 64}, tokens_per_day: 5}}")
    (listed,) = json.loads(terminal.run("key", "list", "--json"))
    terminal.run("key", "create", "old", status=1)
    terminal.run("key", "revoke", "old")

    assert (listed["name"], listed["origin"]) == ("old", "config")
    assert "sha256" not in listed["settings"]
    assert terminal.run("key", "list").startswith("There is no key")
    assert '"keys":{"old":null}' in terminal.run("config", "show", "--json")


def test_every_scope_there_is_can_be_asked_for() -> None:
    assert get_args(Scope) == SCOPES


@pytest.mark.parametrize(
    "flags",
    [
        ("--expires", "soon"),
        ("--budget", "5M/week"),
        ("--rate", "0"),
        ("--scope", "all"),
        ("--usd", "2/week"),
        ("--usd", "nan"),
        ("--usd", "-1"),
        ("--usd", "0/day"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(flags: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["key", "create", "ci", *flags])


def test_a_key_may_be_made_before_the_mesh_was_ever_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ODYSSAI_NATS", raising=False)
    home = ("--home", str(tmp_path / "home"))

    assert command.main(["key", "create", "first", *home]) == 0
    assert command.main(["key", "list", *home]) == 0
    assert "first" in capsys.readouterr().out.splitlines()[-1]
