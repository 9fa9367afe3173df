"""Machines become nodes over a real ssh server each, and are given back as they were."""

import asyncio
import json
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.remote import reboot, release, session, site
from ops.remote.errors import ChangedHostKey, CommandFailed, NotLetIn, NotVerified, UnknownHostKey
from ops.remote.host import Host
from tests.mesh.house import NODE, Command, Mesh, until
from tests.mesh.sshd import Operator, Sshd, make_key

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("sshd", path=f"{os.defpath}:/usr/sbin"), reason="no sshd"),
]

DONE_S = 240.0
"""Alone on a machine a deployment takes 7; the cores may be shared with other tests."""

CAT = shutil.which("cat")

Odyssai = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("hall") / "home", ["none"])
    yield mesh.wait_until_it_serves()
    mesh.end()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, operator: Operator) -> Iterator[Sshd]:
    machine = Sshd(tmp_path_factory.mktemp("studio"), operator.key)
    operator.knows(machine)
    yield machine
    machine.end()


@pytest.fixture(scope="module")
def mini(
    tmp_path_factory: pytest.TempPathFactory, operator: Operator, studio: Sshd
) -> Iterator[Sshd]:
    machine = Sshd(tmp_path_factory.mktemp("mini"), operator.key)
    operator.knows(studio, machine)
    yield machine
    machine.end()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory, operator: Operator) -> Iterator[Sshd]:
    """Nobody has ever seen its key."""
    machine = Sshd(tmp_path_factory.mktemp("stranger"), operator.key)
    yield machine
    machine.end()


@pytest.fixture(scope="module")
def next_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This source, with a change."""
    copy = tmp_path_factory.mktemp("next") / "source"
    release._copy(release.SOURCE, copy)
    (copy / "README.md").write_text("Something is new.\n")
    return copy


@pytest.fixture(scope="module")
def odyssai(hall: Mesh, operator: Operator) -> Odyssai:
    """Runs a command to its end: its status, and what it said."""

    def run(*arguments: str, source: Path = release.SOURCE) -> tuple[int, str]:
        command = Command(*arguments, "--home", str(hall.home), told=operator.told, source=source)
        try:
            status = command.process.wait(DONE_S)
            command.said.close()
            return status, command.said.text
        finally:
            command.end()

    return run


def nodes(hall: Mesh) -> dict[str, dict[str, str]]:
    answer = httpx.get(f"{hall.url}/admin/nodes", timeout=5, trust_env=False).json()
    return {each["node"]: each for each in answer["nodes"]}


def ask(hall: Mesh) -> httpx.Response:
    asked = {"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{hall.url}/v1/chat/completions", json=asked, timeout=60, trust_env=False)


def serving(hall: Mesh) -> list[str]:
    """Nodes whose engine is ready."""
    there: dict[str, Any] = nodes(hall)
    return [
        name
        for name, node in there.items()
        if node["state"] == "alive" and any(e["phase"] == "ready" for e in node["engines"])
    ]


class Client:
    """Asks without a pause, one question after the other."""

    def __init__(self, hall: Mesh) -> None:
        self.answers: list[int] = []
        self._hall = hall
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.is_set():
            self.answers.append(ask(self._hall).status_code)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def test_machines_become_nodes_and_one_that_cannot_is_told_why(
    hall: Mesh, studio: Sshd, mini: Sshd, stranger: Sshd, odyssai: Odyssai, tiny_model: Path
) -> None:
    hosts = (f"studio={studio.host}", f"mini={mini.host}", stranger.host)

    status, said = odyssai("deploy", *hosts, "--model", str(tiny_model))

    assert status == 1
    for node in ("studio", "mini"):
        done = rf"^{node}: installed \w+, let in, started; it serves\."
        assert re.search(done, said, re.MULTILINE), said
        assert nodes(hall)[node]["state"] == "alive"
    assert said.index("mini: installing") < said.index("studio: installed")
    assert re.search(rf"^{stranger.host}: known_hosts has no key .* SHA256:", said, re.MULTILINE)
    assert os.listdir(stranger.home) == []

    until(lambda: "tiny" in hall.models(), DONE_S, "its model served")
    assert ask(hall).json()["usage"]["completion_tokens"] == 3


def test_its_secrets_are_its_own(studio: Sshd) -> None:
    folder = studio.home / ".odyssai-node"
    seed = (folder / "home" / "membership" / "key.seed").read_text()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = folder / "home" / "membership"
    assert {stat.S_IMODE(file.stat().st_mode) for file in keys.iterdir()} == {0o600}
    for process in studio.inhabitants():
        assert seed not in " ".join(process.cmdline())
    assert "odyssai-" not in studio.log().replace(".odyssai-node", "")


def test_deployed_again_nothing_changes(hall: Mesh, studio: Sshd, odyssai: Odyssai) -> None:
    before = nodes(hall)["studio"]["boot"]
    processes = {process.pid for process in studio.inhabitants()}

    status, said = odyssai("deploy", f"studio={studio.host}")

    assert status == 0
    assert "studio: Nothing to do" in said
    assert nodes(hall)["studio"]["boot"] == before
    assert {process.pid for process in studio.inhabitants()} == processes


def test_what_is_said_there_is_heard_here(hall: Mesh, operator: Operator, odyssai: Odyssai) -> None:
    status, said = odyssai("logs", "studio")
    assert status == 0
    assert "node studio of mesh" in said
    assert "runner.log" in said

    follower = Command("logs", "studio", "-f", "--home", str(hall.home), told=operator.told)
    try:
        follower.said.wait_for("Started server process", DONE_S)
        heard = len(follower.said.text)
        ended, _ = odyssai("restart", "studio")
        assert ended == 0
        until(lambda: "Started server process" in follower.said.text[heard:], DONE_S, "news")
    finally:
        follower.end()


def test_the_machine_of_the_bus_is_not_restarted(odyssai: Odyssai) -> None:
    status, said = odyssai("reboot", "studio", "--yes", "--force")

    assert status == 1
    assert "runs the mesh's bus" in said


def test_another_machine_is_restarted_and_waited_for(
    hall: Mesh, studio: Sshd, odyssai: Odyssai
) -> None:
    """As far as a test may: this machine's kernel passes for another, and only the node ends."""
    studio.give_word("cat", f'case $1 in */boot_id) echo another ;; *) {CAT} "$@" ;; esac')
    studio.give_word("sudo", '[ "$1" = -n ] && shift && exec "$@"')
    node = '"$HOME/.odyssai-node/current/venv/bin/python" -P -m ops.remote.detached'
    wanted = '"$HOME/.odyssai-node/process.json"'
    words = studio.give_word("shutdown", f'[ "$*" = "-r now" ] && {node} start {wanted}')
    before = nodes(hall)["studio"]["boot"]
    try:
        assert odyssai("reboot", "studio") == (
            1, "odyssai: nobody is here to be asked whether studio may be restarted; say --yes\n"
        )  # fmt: skip
        assert nodes(hall)["studio"]["boot"] == before

        status, said = odyssai("reboot", "studio", "--yes")
    finally:
        shutil.rmtree(words)

    assert (status, said) == (0, "studio starts anew\nstudio is back\n")
    assert nodes(hall)["studio"]["boot"] != before


def test_a_new_version_is_rolled_out_behind_a_drain(
    hall: Mesh, studio: Sshd, mini: Sshd, odyssai: Odyssai, next_source: Path
) -> None:
    until(lambda: len(serving(hall)) == 2, DONE_S, "both serve")
    before = nodes(hall)
    name = release.fingerprint(next_source)

    with Client(hall) as client:
        status, said = odyssai("upgrade", source=next_source)

    assert status == 0, said
    assert client.answers
    assert set(client.answers) == {200}
    for node, machine in (("mini", mini), ("studio", studio)):
        assert f"{node}: runs {name}: installed {name}, started anew" in said
        assert said.index(f"{node}: draining") < said.index(f"{node}: starting")
        now = nodes(hall)[node]
        assert now["state"] == "alive"
        assert now["boot"] != before[node]["boot"]
        assert os.listdir(machine.home / ".odyssai-node" / "releases") == [name]
        lines = [" ".join(process.cmdline()) for process in machine.inhabitants()]
        assert any(f"releases/{name}/" in line for line in lines)
    assert said.index("mini: runs") < said.index("studio: connecting")

    assert odyssai("upgrade", "studio", source=next_source) == (
        0, f"studio: connecting\nstudio: runs {name} already\n"
    )  # fmt: skip


def test_a_version_that_does_not_start_is_taken_back(
    hall: Mesh, studio: Sshd, odyssai: Odyssai, next_source: Path
) -> None:
    good = release.fingerprint(next_source)
    broken = next_source / "ops" / "join.py"
    text = broken.read_text()
    broken.write_text("raise SystemExit('a bug')\n")
    try:
        status, said = odyssai("upgrade", "studio", source=next_source)
    finally:
        broken.write_text(text)

    assert status == 1
    assert "studio was started, and ended; the end of its log:" in said
    assert "a bug" in said
    assert f"going back to {good}" in said
    assert nodes(hall)["studio"]["state"] == "alive"
    assert (studio.home / ".odyssai-node" / "current").readlink().name == good
    until(lambda: ask(hall).status_code == 200, DONE_S, "it serves again")


def test_given_back_nothing_is_left_of_it(
    hall: Mesh, studio: Sshd, mini: Sshd, odyssai: Odyssai
) -> None:
    status, said = odyssai("undeploy", "studio", "mini")

    assert status == 0, said
    for machine in (studio, mini):
        assert os.listdir(machine.home) == []
        assert machine.inhabitants() == []
    assert {"studio", "mini"}.isdisjoint(nodes(hall))
    _, credentials = odyssai("credentials", "--json")
    assert {"studio", "mini"}.isdisjoint(each["name"] for each in json.loads(credentials))
    assert json.loads((hall.home / "machines.json").read_text()) == {}

    status, said = odyssai("undeploy", "studio")
    assert status == 1
    assert "studio was not deployed from" in said


def test_a_folder_of_somebody_else_is_not_touched(studio: Sshd, odyssai: Odyssai) -> None:
    letter = studio.home / "letters" / "anna"
    letter.parent.mkdir()
    letter.write_text("dear anna")

    status, said = odyssai("deploy", f"studio={studio.host}", "--folder", "letters")

    assert status == 1
    assert "letters holds something else; choose another --folder" in said
    assert os.listdir(letter.parent) == ["anna"]


@pytest.fixture
def as_operator(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """This process has the operator's ssh settings."""
    for name, value in operator.told.items():
        monkeypatch.setenv(name, value)
    known = (operator.ssh / "known_hosts").read_text()
    yield operator
    (operator.ssh / "known_hosts").write_text(known)
    (operator.ssh / "config").unlink(missing_ok=True)


async def knock(machine: Sshd) -> str:
    _, host = Host.read(machine.host)
    async with session.connect(host) as connected:
        return await connected.run("echo $HOME")


async def test_only_the_machine_that_is_known_is_spoken_to(
    as_operator: Operator, studio: Sshd, stranger: Sshd
) -> None:
    assert await knock(studio) == f"{studio.home}\n"

    with pytest.raises(UnknownHostKey, match=rf"`ssh -p {stranger.port} .*` once adds it"):
        await knock(stranger)

    as_operator.knows(studio)
    known = as_operator.ssh / "known_hosts"
    known.write_text(known.read_text().replace(str(studio.port), str(stranger.port)))
    with pytest.raises(ChangedHostKey, match=r"knows another.*ssh-keygen -R"):
        await knock(stranger)


async def test_where_no_machine_was_ever_met_none_is_known(
    as_operator: Operator, stranger: Sshd
) -> None:
    (as_operator.ssh / "known_hosts").unlink()

    with pytest.raises(UnknownHostKey, match=rf"SHA256:.*`ssh -p {stranger.port} .*` once adds it"):
        await knock(stranger)


async def test_no_setting_switches_the_check_off(as_operator: Operator, studio: Sshd) -> None:
    (as_operator.ssh / "config").write_text("Host *\n  UserKnownHostsFile none\n")

    with pytest.raises(NotVerified, match="does not go on without"):
        await knock(studio)


async def test_a_key_that_is_not_accepted_is_told(
    as_operator: Operator, studio: Sshd, tmp_path: Path
) -> None:
    make_key(tmp_path / "other")
    (as_operator.ssh / "config").write_text(f"Host *\n  IdentityFile {tmp_path / 'other'}\n")

    with pytest.raises(NotLetIn, match="ssh-copy-id"):
        await knock(studio)


async def test_a_machine_is_restarted_by_whoever_may(as_operator: Operator, studio: Sshd) -> None:
    """Where ``shutdown`` is a word of the test's: the machine is also this one."""
    _, host = Host.read(studio.host)
    words = studio.give_word("shutdown", 'echo "$@" >"$HOME/asked"')
    studio.give_word("sudo", '[ "$1" = -n ] && shift && exec "$@"')

    async with site.at(host, ".odyssai-node") as found:
        await reboot._reboot(found)
        assert (studio.home / "asked").read_text() == "-r now\n"

        (words / "shutdown").write_text("#!/bin/sh\necho not you >&2\nexit 1\n")
        with pytest.raises(CommandFailed, match=r"not you; the user there needs the right"):
            await reboot._reboot(found)


def test_a_name_that_another_has_is_refused_before_anything_is_done(
    hall: Mesh, studio: Sshd, odyssai: Odyssai
) -> None:
    before = os.listdir(studio.home)

    status, said = odyssai("deploy", f"{NODE}={studio.host}")

    assert status == 1
    assert f"there is a node {NODE} already" in said
    assert os.listdir(studio.home) == before
    assert json.loads((hall.home / "machines.json").read_text()) == {}
    assert nodes(hall)[NODE]["state"] == "alive"


async def test_a_bus_that_is_not_reached_from_there_is_told(
    hall: Mesh, as_operator: Operator, studio: Sshd
) -> None:
    _, host = Host.read(studio.host)
    async with site.at(host, ".odyssai-node") as found:
        there = hall.access.reachable
        assert await site.unreached(found, sys.executable, there) == ""
        assert await site.unreached(found, sys.executable, ("127.0.0.1:1", *there)) == ""
        assert "--bus-host 0.0.0.0" in await site.unreached(found, sys.executable, ("[::1]:1",))


async def test_what_takes_too_long_is_given_up(as_operator: Operator, studio: Sshd) -> None:
    _, host = Host.read(studio.host)
    async with session.connect(host) as connected:
        with pytest.raises(CommandFailed, match=r"no answer within 0\.2 s"):
            await connected.run("sleep 30", within_s=0.2)


def test_the_loop_is_free_of_ssh_when_a_session_is_over(
    as_operator: Operator, studio: Sshd
) -> None:
    async def look() -> int:
        await knock(studio)
        return len(asyncio.all_tasks())

    assert asyncio.run(look()) == 1
