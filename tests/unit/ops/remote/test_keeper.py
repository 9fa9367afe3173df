"""What each keeper is told: texts and commands, also of systems that are not here."""

import configparser
import plistlib
import shlex
import subprocess

import pytest
from msgspec.structs import replace

from ops.remote.keeper.keeper import Run
from ops.remote.keeper.known import KEEPERS
from ops.remote.keeper.launchd import Launchd
from ops.remote.keeper.systemd import Systemd
from ops.remote.layout import Layout

ANNA = Run(
    node="studio",
    layout=Layout("/Users/anna/my $node 100%"),
    user_home="/Users/anna",
    user_id=501,
    arguments=("--model", 'say "hi" $you', "--memory", "75%"),
)
ROOT = replace(ANNA, user_home="/root", user_id=0)


@pytest.mark.parametrize("name", KEEPERS)
@pytest.mark.parametrize("run", [ANNA, ROOT])
def test_every_command_is_one_that_sh_understands(name: str, run: Run) -> None:
    keeper = KEEPERS[name]

    for script in (keeper.start(run), keeper.stop(run), keeper.is_running(run), keeper.forget(run)):
        subprocess.run(["/bin/sh", "-n", "-c", script], check=True)


def test_launchd_keeps_a_user_s_node_and_a_system_s() -> None:
    unit = Launchd().unit(ANNA)
    said = plistlib.loads(unit.text.encode())

    assert unit.path == "/Users/anna/Library/LaunchAgents/ai.odyssai.node.studio.plist"
    assert said["Label"] == "ai.odyssai.node.studio"
    assert said["ProgramArguments"] == list(ANNA.argv)
    assert said["KeepAlive"] is True
    assert said["RunAtLoad"] is True
    assert said["StandardOutPath"] == ANNA.layout.log
    assert Launchd().unit(ROOT).path.startswith("/Library/LaunchDaemons/")
    assert said["LimitLoadToSessionType"] == "Background"
    assert "bootstrap user/501 " in Launchd().start(ANNA)
    assert "bootstrap system " in Launchd().start(ROOT)


def test_launchd_is_told_anew_only_when_the_old_is_gone() -> None:
    script = Launchd().start(ANNA)

    assert script.index("bootout") < script.index("launchctl print") < script.index("bootstrap")


def test_systemd_reads_back_the_words_that_were_meant() -> None:
    unit = Systemd().unit(ANNA)
    parsed = configparser.RawConfigParser(strict=True)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit.text)
    line = parsed["Service"]["ExecStart"].replace("%%", "%")
    program, *arguments = shlex.split(line)

    assert unit.path == "/Users/anna/.config/systemd/user/odyssai-studio.service"
    assert (program, *(word.replace("$$", "$") for word in arguments)) == ANNA.argv
    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Service"]["KillMode"] == "mixed"
    assert parsed["Install"]["WantedBy"] == "default.target"


def test_root_s_node_is_the_system_s() -> None:
    unit = Systemd().unit(ROOT)

    assert unit.path == "/etc/systemd/system/odyssai-studio.service"
    assert "WantedBy=multi-user.target" in unit.text
    assert "--user" not in Systemd().start(ROOT)
    assert "linger" not in Systemd().start(ROOT) + Systemd().forget(ROOT)


def test_a_user_s_node_outlives_the_session_and_that_is_taken_back() -> None:
    assert "enable-linger" in Systemd().start(ANNA)
    assert "disable-linger" in Systemd().forget(ANNA)


@pytest.mark.parametrize("name", KEEPERS)
def test_what_was_told_is_taken_back(name: str) -> None:
    keeper = KEEPERS[name]

    assert shlex.quote(keeper.unit(ANNA).path) in keeper.forget(ANNA)
